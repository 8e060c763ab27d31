"""Writes rows for models of this repository as .npz files: `held-out.npz` and `calibration.npz`, which share no row.

usage: rows.py fashion DATA FOLDER       DATA holds the idx.gz files of Fashion-MNIST; rows for the plugin `lenet`, with labels
       rows.py pictures PICTURES FOLDER  crops of photographs; rows for EfficientNet-Lite0, without labels
       rows.py sentences VOCAB FOLDER    lines of Python's own documentation; rows for MiniLM, padded to one length
"""

import builtins
import gzip
import inspect
import sys
from pathlib import Path

import numpy as np

SIDE = 224
WORDS = 24


def fashion(data):
    def read(name, header):
        return np.frombuffer(gzip.open(Path(data) / name).read(), np.uint8, offset=header)

    def rows(part, count):
        grey = read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:count]
        padded = np.pad(grey, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
        image = np.repeat(((padded / 255 - 0.5) / 0.5)[:, None], 3, axis=1)
        return {"image": image, "label": read(f"{part}-labels-idx1-ubyte.gz", 8)[:count].astype(np.int64)}

    return rows("t10k", 2000), rows("train", 128)


def pictures(folder):
    from PIL import Image

    rng = np.random.default_rng(7)

    # The same photographs for both, since three are few; but no crop for calibration has a pixel of a held-out one.
    def half(name, is_right):
        image = Image.open(Path(folder) / name).convert("RGB")
        middle = image.width // 2
        return image.crop((middle if is_right else 0, 0, image.width if is_right else middle, image.height))

    def crops(is_right, count):
        images = [half(name, is_right) for name in ["chelsea.png", "coffee.png", "rocket.jpg"]]
        rows = []
        for at in range(count):
            image = images[at % len(images)]
            side = int(min(image.size) * rng.uniform(0.7, 1))
            left, top = (int(rng.integers(0, size - side + 1)) for size in image.size)
            crop = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.BICUBIC)
            rows.append(((np.asarray(crop, np.float32) - 127) / 128).transpose(2, 0, 1))
        return {"image": np.ascontiguousarray(np.stack(rows))}

    return crops(True, 200), crops(False, 128)


def sentences(vocabulary):
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
    tokenizer.enable_truncation(WORDS)
    tokenizer.enable_padding(length=WORDS)
    lines = []
    for name in sorted(dir(builtins)):
        text = inspect.getdoc(getattr(builtins, name)) or ""
        lines += [line.strip() for line in text.splitlines() if len(line.split()) > 6]
    lines = list(dict.fromkeys(lines))

    def rows(lines):
        encoded = [tokenizer.encode(line) for line in lines]
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}

    return rows(lines[:60]), rows(lines[60:92])


def main():
    kind, source, folder = sys.argv[1:]
    held_out, calibration = {"fashion": fashion, "pictures": pictures, "sentences": sentences}[kind](source)
    np.savez(Path(folder) / "held-out.npz", **held_out)
    np.savez(Path(folder) / "calibration.npz", **calibration)


main()
