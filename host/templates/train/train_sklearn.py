"""Trains a forest on a CSV file whose last column is the class, as on SageMaker: SM_* in, $SM_MODEL_DIR/model.onnx out."""

import csv
import json
import os

import numpy
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier


def read(path):
    with open(path, newline="") as file:
        _, *rows = csv.reader(file)
    numbers = numpy.array([row[:-1] for row in rows], dtype=numpy.float32)
    return numbers, numpy.array([row[-1] for row in rows])


settings = json.loads(os.environ["SM_HPS"])
rows, classes = read(os.environ["SM_CHANNEL_TRAIN"])
model = RandomForestClassifier(settings["trees"], random_state=settings["seed"]).fit(rows, classes)

rows, classes = read(os.environ["SM_CHANNEL_TEST"])
print(f"accuracy: {model.score(rows, classes):.4f}")  # `metrics` of the recipe finds it here

exported = to_onnx(model, rows[:1], options={"zipmap": False}, target_opset=17)
with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.onnx"), "wb") as file:
    file.write(exported.SerializeToString())

# What scikit-learn answers itself: `hospes train` keeps the model only if hosts answer the same.
numpy.savez(
    os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "answers.npz"),
    X=rows,
    probabilities=model.predict_proba(rows).astype(numpy.float32),
)
