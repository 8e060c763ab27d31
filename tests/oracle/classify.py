"""Classifies pictures with plain ONNX Runtime and Pillow. Prints a JSON object from file names to the five best classes.

usage: classify.py MODEL.onnx PICTURE…
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

SIDE = 224


def prepared(path):
    image = Image.open(path).convert("RGB")
    side = round(SIDE / (SIDE + 32) * min(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.BICUBIC)
    pixels = (np.asarray(image, np.float32) - 127) / 128
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]


def main():
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    answers = {}
    for path in map(Path, sys.argv[2:]):
        (logits,) = session.run(None, {"image": prepared(path)})
        exp = np.exp(logits[0] - logits[0].max())
        shares = exp / exp.sum()
        best = shares.argsort()[::-1][:5]
        answers[path.name] = [[int(index), float(shares[index])] for index in best]
    json.dump(answers, sys.stdout)


main()
