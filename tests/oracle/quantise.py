"""Compares 8-bit models with the float model that they were made of: those in a folder, and those that ONNX Runtime's own tools make.

usage: quantise.py MODEL FOLDER

FOLDER holds rows (held-out.npz, calibration.npz) and models (*.onnx). Prints, as JSON, the share of held-out rows to which each gives the
class of MODEL: `ours` by file name, `theirs` by method. Their files are made in a temporary folder.
"""

import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

# Advice to preprocess models that come preprocessed.
logging.disable(logging.WARNING)


class Rows(CalibrationDataReader):
    def __init__(self, rows):
        self.rows = iter(rows)

    def get_next(self):
        return next(self.rows, None)


def read(path, names):
    # Each read of a member of the file is a copy of it.
    file = np.load(path)
    columns = {name: file[name] for name in names}
    return [{name: column[at : at + 1] for name, column in columns.items()} for at in range(len(columns[names[0]]))]


def classes(path, rows):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.array([session.run(None, row)[0].argmax() for row in rows])


def theirs(model, calibration, folder):
    dynamic, static = folder / "dynamic.onnx", folder / "static.onnx"
    quantize_dynamic(model, dynamic, weight_type=QuantType.QUInt8)
    yield "dynamic", dynamic
    quantize_static(model, static, Rows(calibration), per_channel=True)
    yield "static", static


def main():
    model, folder = Path(sys.argv[1]), Path(sys.argv[2])
    names = [port.name for port in onnx.load(model).graph.input]
    held_out, calibration = (read(folder / f"{name}.npz", names) for name in ["held-out", "calibration"])
    truth = classes(model, held_out)

    def agreement(path):
        return float((classes(path, held_out) == truth).mean())

    with tempfile.TemporaryDirectory() as temporary:
        made = {name: agreement(path) for name, path in theirs(model, calibration, Path(temporary))}
    print(json.dumps({"ours": {path.stem: agreement(path) for path in folder.glob("*.onnx")}, "theirs": made}))


main()
