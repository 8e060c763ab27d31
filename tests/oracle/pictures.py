"""Fetches three photographs that are free to use, from scikit-image's wheel: chelsea and coffee (CC0), rocket (public domain).

usage: pictures.py FOLDER
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PICTURES = ("chelsea.png", "coffee.png", "rocket.jpg")
SHA256 = "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"
# One platform, whatever machine this is: the wheel is only taken apart.
DOWNLOAD = (
    "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
    "--python-version=311", "--implementation=cp", "--platform=manylinux_2_28_x86_64", "scikit-image==0.26.0",
)  # fmt: skip


def main():
    folder = Path(sys.argv[1])
    if all((folder / name).exists() for name in PICTURES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        print("pictures: fetching scikit-image 0.26.0 (14 MB)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "pip", *DOWNLOAD, "--dest", scratch], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
            sys.exit(f"pictures: {wheel.name} is not the file that is pinned")
        with zipfile.ZipFile(wheel) as archive:
            for name in PICTURES:
                (folder / name).write_bytes(archive.read(f"skimage/data/{name}"))


main()
