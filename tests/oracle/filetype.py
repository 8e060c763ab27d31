"""Identifies files with Magika's own package. Prints a JSON object from file names to label and score.

usage: filetype.py FOLDER
"""

import json
import sys
from pathlib import Path

from magika import Magika


def main():
    paths = sorted(Path(sys.argv[1]).iterdir())
    results = Magika().identify_paths(paths)
    answers = {
        path.name: {"label": str(result.output.label), "score": float(result.score)}
        for path, result in zip(paths, results, strict=True)
    }
    json.dump(answers, sys.stdout)


main()
