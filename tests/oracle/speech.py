"""Fetches short recordings of a person who speaks, and one of noise, from Debian's package alsa-utils; it is not installed.

usage: speech.py FOLDER
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RECORDINGS = ("Front_Center.wav", "Rear_Left.wav", "Noise.wav")


def run(*command, folder):
    return subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def main():
    folder = Path(sys.argv[1])
    if all((folder / name).exists() for name in RECORDINGS):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        print("speech: fetching alsa-utils (1 MB)", file=sys.stderr)
        download = ("apt-get", "download", "-q", "alsa-utils")
        if not run(*download, folder=scratch):
            run("apt-get", "update", "-q", folder=scratch)
            if not run(*download, folder=scratch):
                sys.exit("speech: `apt-get download alsa-utils` failed: run `apt-get update` as root")
        (package,) = Path(scratch).glob("*.deb")
        if not run("dpkg-deb", "-x", str(package), "files", folder=scratch):
            sys.exit("speech: `dpkg-deb` cannot take the package apart")
        for name in RECORDINGS:
            shutil.copy(Path(scratch) / "files/usr/share/sounds/alsa" / name, folder)


main()
