"""Trains the small LeNet of this plugin on Fashion-MNIST and writes it as ONNX.

usage: model.py DATA OUT.onnx, where DATA holds the four idx.gz files of the data set.

The network is conv 6@5x5, pool, conv 16@5x5, pool, then 120, 84 and 10 units, on a 3x32x32 picture. Fashion-MNIST is
grey, so training runs on one channel (a third of the work) and the first layer is divided among three equal channels
on export: the sums are the same. Plain numpy, seeded. Rounding differs between BLAS libraries, so what is promised is
the accuracy (checked below), not the bytes.
"""

import gzip
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import as_strided
from onnx import TensorProto, helper, numpy_helper

EPOCHS = 2
BATCH = 32
LEARNING_RATE = 0.02
MOMENTUM = 0.9
ACCURACY_MIN = 0.80


def read_idx(path, header_bytes):
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=header_bytes)


def pictures(path):
    """28x28 grey bytes -> [N, 1, 32, 32], padded with 0 and scaled to -1..1."""
    grey = read_idx(path, 16).reshape(-1, 28, 28)
    padded = np.pad(grey, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    return ((padded / 255 - 0.5) / 0.5)[:, None]


def initial(rng):
    def uniform(fan_in, *shape):
        bound = 1 / np.sqrt(fan_in)
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    return {
        "w1": uniform(25, 6, 1, 5, 5), "b1": uniform(25, 6),
        "w2": uniform(150, 16, 6, 5, 5), "b2": uniform(150, 16),
        "w3": uniform(400, 120, 400), "b3": uniform(400, 120),
        "w4": uniform(120, 84, 120), "b4": uniform(120, 84),
        "w5": uniform(84, 10, 84), "b5": uniform(84, 10),
    }  # fmt: skip


def columns(x):
    """Every 5x5 patch as a row."""
    n, c, h, w = x.shape
    s = x.strides
    shape, strides = (n, h - 4, w - 4, c, 5, 5), (s[0], s[2], s[3], s[1], s[2], s[3])
    return as_strided(x, shape, strides).reshape(n * (h - 4) * (w - 4), c * 25)


def convolve(x, w, b):
    patches = columns(x)
    n, _, height, width = x.shape
    y = patches @ w.reshape(len(w), -1).T + b
    return y.reshape(n, height - 4, width - 4, -1).transpose(0, 3, 1, 2), patches


def pool(x):
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
    best = blocks.max((3, 5))
    return best, blocks == best[:, :, :, None, :, None]


def forward(p, x):
    z1, patches1 = convolve(x, p["w1"], p["b1"])
    best1, mask1 = pool(z1)
    a1 = np.ascontiguousarray(np.maximum(best1, 0))
    z2, patches2 = convolve(a1, p["w2"], p["b2"])
    best2, mask2 = pool(z2)
    a2 = np.maximum(best2, 0)
    flat = a2.reshape(len(x), -1)
    h1 = np.maximum(flat @ p["w3"].T + p["b3"], 0)
    h2 = np.maximum(h1 @ p["w4"].T + p["b4"], 0)
    return h2 @ p["w5"].T + p["b5"], (patches1, mask1, a1, patches2, mask2, a2, flat, h1, h2)


def gradients(p, x, y):
    logits, (patches1, mask1, a1, patches2, mask2, a2, flat, h1, h2) = forward(p, x)
    n = len(x)
    exp = np.exp(logits - logits.max(1, keepdims=True))
    d = exp / exp.sum(1, keepdims=True)
    d[np.arange(n), y] -= 1
    d = (d / n).astype(np.float32)
    g = {"w5": d.T @ h2, "b5": d.sum(0)}
    d = (d @ p["w5"]) * (h2 > 0)
    g |= {"w4": d.T @ h1, "b4": d.sum(0)}
    d = (d @ p["w4"]) * (h1 > 0)
    g |= {"w3": d.T @ flat, "b3": d.sum(0)}
    d = (d @ p["w3"]).reshape(a2.shape) * (a2 > 0)
    d = (d[:, :, :, None, :, None] * mask2).reshape(n, 16, 10, 10)
    rows = d.transpose(0, 2, 3, 1).reshape(-1, 16)
    g |= {"w2": (rows.T @ patches2).reshape(16, 6, 5, 5), "b2": rows.sum(0)}
    back = (rows @ p["w2"].reshape(16, -1)).reshape(n, 10, 10, 6, 5, 5)
    da = np.zeros_like(a1)
    for i in range(5):
        for j in range(5):
            da[:, :, i : i + 10, j : j + 10] += back[..., i, j].transpose(0, 3, 1, 2)
    d = da * (a1 > 0)
    d = (d[:, :, :, None, :, None] * mask1).reshape(n, 6, 28, 28)
    rows = d.transpose(0, 2, 3, 1).reshape(-1, 6)
    return g | {"w1": (rows.T @ patches1).reshape(6, 1, 5, 5), "b1": rows.sum(0)}


def train(p, x, y, rng):
    velocity = {name: np.zeros_like(v) for name, v in p.items()}
    started = time.monotonic()
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        rate = LEARNING_RATE * (1 - epoch / EPOCHS)
        for i in range(0, len(order), BATCH):
            batch = order[i : i + BATCH]
            for name, g in gradients(p, x[batch], y[batch]).items():
                velocity[name] = MOMENTUM * velocity[name] - rate * g.astype(np.float32)
                p[name] += velocity[name]
        print(f"lenet: epoch {epoch + 1}/{EPOCHS}, {time.monotonic() - started:.0f} s", flush=True)


def accuracy(p, x, y):
    right = sum(
        (forward(p, x[i : i + 500])[0].argmax(1) == y[i : i + 500]).sum() for i in range(0, len(x), 500)
    )
    return right / len(x)


def export(p, path):
    weights = dict(p, w1=np.repeat(p["w1"] / 3, 3, axis=1))
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], kernel_shape=[5, 5]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[5, 5]),
        node("Relu", ["c2"], ["r2"]),
        node("MaxPool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p2"], ["flat"], axis=1),
        node("Gemm", ["flat", "w3", "b3"], ["h1"], transB=1),
        node("Relu", ["h1"], ["h1r"]),
        node("Gemm", ["h1r", "w4", "b4"], ["h2"], transB=1),
        node("Relu", ["h2"], ["h2r"]),
        node("Gemm", ["h2r", "w5", "b5"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lenet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main():
    data, out = Path(sys.argv[1]), sys.argv[2]
    x = pictures(data / "train-images-idx3-ubyte.gz")
    y = read_idx(data / "train-labels-idx1-ubyte.gz", 8).astype(int)
    rng = np.random.default_rng(0)
    p = initial(rng)
    train(p, x, y, rng)
    test_y = read_idx(data / "t10k-labels-idx1-ubyte.gz", 8).astype(int)
    score = accuracy(p, pictures(data / "t10k-images-idx3-ubyte.gz"), test_y)
    print(f"lenet: {score:.1%} of the 10,000 test pictures right", flush=True)
    if score < ACCURACY_MIN:
        sys.exit(f"lenet: expected at least {ACCURACY_MIN:.0%}")
    export(p, out)


main()
