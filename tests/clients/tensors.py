"""Tensors that must come back unchanged, and shared helpers of the clients."""

import numpy as np

# Extremes, numbers without a short decimal form, signed zeros, subnormals, and numbers that JSON lacks.
_FLOATS = [0.1, -0.0, 5e-324, 1e-45, 3.5, float("nan"), float("inf"), float("-inf")]


def _integers(kind):
    info = np.iinfo(kind)
    return np.array([info.min, info.max, 0, 7], dtype=kind)


TENSORS = {
    "BOOL": np.array([True, False, True, True]),
    "UINT8": _integers(np.uint8),
    "UINT16": _integers(np.uint16),
    "UINT32": _integers(np.uint32),
    "UINT64": _integers(np.uint64),
    "INT8": _integers(np.int8),
    "INT16": _integers(np.int16),
    "INT32": _integers(np.int32),
    "INT64": _integers(np.int64),
    "FP16": np.array(_FLOATS, dtype=np.float64).astype(np.float16),
    "FP32": np.array(_FLOATS, dtype=np.float64).astype(np.float32),
    "FP64": np.array(_FLOATS, dtype=np.float64),
    "BYTES": np.array([b"", b"plain", "ä漢🦀".encode(), b"x" * 1000], dtype=np.object_),
}


def model(datatype):
    return f"acme/identity-{datatype.lower()}"


def same(sent, got):
    """Compares bit for bit: NaN payloads must match, and -0.0 is not 0.0."""
    assert got is not None
    assert sent.shape == got.shape, (sent.shape, got.shape)
    if sent.dtype == np.object_:
        texts = [x.encode() if isinstance(x, str) else bytes(x) for x in got.flat]
        assert list(sent.flat) == texts, got
    else:
        assert sent.dtype == got.dtype, (sent.dtype, got.dtype)
        assert sent.tobytes() == got.tobytes(), (sent, got)


def row(value):
    return np.arange(16, dtype=np.int32).reshape(1, 16) * value
