"""Fits logistic regression to the iris data set and writes it as ONNX.

usage: model.py iris.csv OUT.onnx

In: `X` f32[batch, 4], in centimetres: sepal length, sepal width, petal length, petal width.
Out: `probabilities` f32[batch, 3] and `label` i64[batch]; 0 setosa, 1 versicolor, 2 virginica.

The coefficients are rounded to four decimals, so that a last bit that differs between maths libraries does not
change the file: the same bytes come out on every machine.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STEPS = 2000
RATE = 0.5
PENALTY = 0.01
ACCURACY_MIN = 0.95


def fit(x, y):
    """Gradient descent on standardised features; returns weights [4, 3] and bias [3] for plain centimetres."""
    mean, deviation = x.mean(0), x.std(0)
    z = (x - mean) / deviation
    target = np.eye(3)[y]
    w, b = np.zeros((4, 3)), np.zeros(3)
    for _ in range(STEPS):
        scores = z @ w + b
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        wrong = (p - target) / len(x)
        w -= RATE * (z.T @ wrong + PENALTY * w)
        b -= RATE * wrong.sum(0)
    w = w / deviation[:, None]
    return np.round(w, 4), np.round(b - mean @ w, 4)


def export(w, b, path):
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Gemm", ["X", "weights", "bias"], ["scores"]),
            node("Softmax", ["scores"], ["probabilities"], axis=1),
            node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ],
        "iris",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            numpy_helper.from_array(w.astype(np.float32), "weights"),
            numpy_helper.from_array(b.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main():
    rows = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1)
    x, y = rows[:, :4], rows[:, 4].astype(int)
    w, b = fit(x, y)
    score = ((x @ w + b).argmax(1) == y).mean()
    print(f"iris: {score:.1%} of the {len(x)} flowers right", flush=True)
    if score < ACCURACY_MIN:
        sys.exit(f"iris: expected at least {ACCURACY_MIN:.0%}")
    export(w, b, sys.argv[2])


main()
