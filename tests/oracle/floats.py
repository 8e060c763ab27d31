"""Puts the float weights of a published encoder of texts into its ONNX model, which has them in 8 bits.

usage: floats.py MODEL.onnx PUBLISHED.zip OUT.onnx

PUBLISHED.zip holds `model.safetensors`. The model computes each matrix of weights from stored integers by `Cast` and `Mul`. The names of
those of products say nothing, so they are found by the bias that is added next.
"""

import json
import sys
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper


def published(path):
    """The tensors of the safetensors file, by name."""
    content = zipfile.ZipFile(path).read("model.safetensors")
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, about in json.loads(content[8:start]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            first, last = (start + offset for offset in about["data_offsets"])
            tensors[name] = np.frombuffer(content[first:last], "<f4").reshape(about["shape"])
    return tensors


def main():
    path, archive, out = sys.argv[1:]
    model, tensors = onnx.load(path), published(archive)
    graph = model.graph
    readers = {name: node for node in graph.node for name in node.input}
    stored = {one.name: one for one in graph.initializer}
    prefix = "inner."

    def weights(node):
        """The published weights that a `Mul` expands; None if it does something else."""
        [output] = node.output
        if output.removeprefix(prefix) in tensors:
            return tensors[output.removeprefix(prefix)]
        reader = readers.get(output)
        if reader is None or reader.op_type != "MatMul":
            return None
        biases = [name.removeprefix(prefix) for name in readers[reader.output[0]].input if name.endswith(".bias")]
        return tensors[biases[0].removesuffix("bias") + "weight"].T if biases else None

    gone = []
    for cast in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        product = readers[cast.output[0]]
        floats, scale = weights(product), next(name for name in product.input if name in stored)
        integers = stored[cast.input[0]]
        expanded = numpy_helper.to_array(integers).astype(np.float32) * numpy_helper.to_array(stored[scale])
        assert np.abs(expanded - floats).max() < np.abs(floats).max() / 100, product.name
        gone += [cast, product]
        for one in (integers, stored[scale]):
            graph.initializer.remove(one)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(floats), product.output[0]))
    assert gone, "the model stores no weights in 8 bits"
    for node in gone:
        graph.node.remove(node)
    onnx.save(model, out)


main()
