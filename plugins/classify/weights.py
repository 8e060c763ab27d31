"""Reads a state dict saved by torch before 1.6, with numpy only.

Such a file is a pickle, and unpickling can run any code. The reader below admits the three things that a state dict
needs (an ordered dict, storages, tensors over them) and refuses every other name.
"""

import collections
import pickle
import struct

import numpy as np
from numpy.lib.stride_tricks import as_strided

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "FloatStorage": np.float32,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "HalfStorage": np.float16,
    "DoubleStorage": np.float64,
}

Storage = collections.namedtuple("Storage", "dtype key")
TensorView = collections.namedtuple("TensorView", "storage offset shape stride")


def view(storage, offset, shape, stride, *_):
    return TensorView(storage, offset, shape, stride)


class StateDictUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return view
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"refused: {module}.{name}")

    def persistent_load(self, saved):
        kind, dtype, key, *_ = saved
        if kind != "storage":
            raise pickle.UnpicklingError(f"refused: a stored {kind}")
        return Storage(DTYPES[dtype], key)


def read(path):
    """The tensors of the state dict at `path`, by name."""
    with open(path, "rb") as file:

        def load():
            return StateDictUnpickler(file).load()

        if load() != MAGIC:
            raise pickle.UnpicklingError("not a state dict in the old format")
        load(), load()  # protocol version, system information
        tensors, keys = load(), load()
        dtypes = {t.storage.key: t.storage.dtype for t in tensors.values()}
        storages = {}
        for key in keys:
            (count,) = struct.unpack("<q", file.read(8))
            dtype = np.dtype(dtypes[key])
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {name: array(t, storages[t.storage.key]) for name, t in tensors.items()}


def array(t, storage):
    strides = [step * storage.itemsize for step in t.stride]
    return as_strided(storage[t.offset :], t.shape, strides).copy()
