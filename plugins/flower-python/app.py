"""Tells three kinds of iris apart, in Python. The host runs the model; the code around it is here."""

import struct

import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import graph, tensor

KINDS = ["setosa", "versicolor", "virginica"]
MEASUREMENTS = 4


def compute(inputs):
    """The outputs of the bundle's model."""
    context = graph.load_by_name("model").init_execution_context()
    return context.compute(inputs)


class WitWorld(wit_world.WitWorld):
    def classify(self, measurements):
        if len(measurements) != MEASUREMENTS:
            raise Err(f"{len(measurements)} measurements, a flower has {MEASUREMENTS}")
        data = struct.pack(f"<{MEASUREMENTS}f", *measurements)
        flower = tensor.Tensor([1, MEASUREMENTS], tensor.TensorType.FP32, data)
        outputs = dict(compute([("X", flower)]))
        scores = struct.unpack("<3f", outputs["probabilities"].data())
        labels = [wit_world.Label(name, score) for name, score in zip(KINDS, scores)]
        return sorted(labels, key=lambda label: -label.score)


class Inference(exports.Inference):
    def infer(self, inputs):
        try:
            return compute(inputs)
        except Err as error:
            raise Err(error.value.data()) from None
