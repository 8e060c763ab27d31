"""What the peers share: one ONNX Runtime session with one thread, as hosts have."""
import os

import numpy as np
import onnxruntime

MODEL = os.environ["MODEL"]
SHAPE = [int(size) for size in os.environ["SHAPE"].split(",")]


def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def run(model, body):
    rows = np.frombuffer(body, dtype=np.float32).reshape(SHAPE)
    return model.run(None, {model.get_inputs()[0].name: rows})[0].tobytes()
