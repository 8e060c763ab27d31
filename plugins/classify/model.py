"""Turns the published weights of EfficientNet-Lite0 into ONNX, without torch.

usage: model.py WEIGHTS.pth OUT.onnx

In: `image` f32[batch, 3, 224, 224], RGB, (v - 127) / 128. Out: `logits` f32[batch, 1000].
Each batch normalisation is folded into the convolution before it.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import weights

EPSILON = 1e-3
# The stride of each of the 16 blocks.
STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


class Graph:
    def __init__(self, state):
        self.state = state
        self.nodes = []
        self.constants = []
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, conv, norm, stride=1, groups=1, activate=True):
        s = self.state
        kernel = s[conv + ".weight"]
        scale = s[norm + ".weight"] / np.sqrt(s[norm + ".running_var"] + EPSILON)
        shift = s[norm + ".bias"] - s[norm + ".running_mean"] * scale
        name = conv.strip("_").replace("._", ".")
        inputs = [
            x,
            self.constant(name + ".w", (kernel * scale[:, None, None, None]).astype(np.float32)),
            self.constant(name + ".b", shift.astype(np.float32)),
        ]
        shape = {"kernel_shape": kernel.shape[2:], "strides": [stride, stride], "group": groups}
        y = self.node("Conv", inputs, name, auto_pad="SAME_UPPER", **shape)
        return self.node("Clip", [y, "zero", "six"], name + ".relu6") if activate else y

    def block(self, index, stride, x):
        prefix = f"_blocks.{index}."
        y = x
        channels_in = 32
        if prefix + "_expand_conv.weight" in self.state:
            y = self.conv(y, prefix + "_expand_conv", prefix + "_bn0")
            channels_in = self.state[prefix + "_expand_conv.weight"].shape[1]
        depth = self.state[prefix + "_depthwise_conv.weight"].shape[0]
        y = self.conv(y, prefix + "_depthwise_conv", prefix + "_bn1", stride, depth)
        y = self.conv(y, prefix + "_project_conv", prefix + "_bn2", activate=False)
        if stride == 1 and channels_in == self.state[prefix + "_project_conv.weight"].shape[0]:
            y = self.node("Add", [x, y], f"blocks.{index}.add")
        return y


def main():
    g = Graph(weights.read(sys.argv[1]))
    x = g.conv("image", "_conv_stem", "_bn0", 2)
    for index, stride in enumerate(STRIDES):
        x = g.block(index, stride, x)
    x = g.conv(x, "_conv_head", "_bn1")
    x = g.node("GlobalAveragePool", [x], "pooled")
    x = g.node("Flatten", [x], "features", axis=1)
    classes = [g.constant("fc.w", g.state["_fc.weight"]), g.constant("fc.b", g.state["_fc.bias"])]
    g.node("Gemm", [x, *classes], "logits", transB=1)
    graph = helper.make_graph(
        g.nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, sys.argv[2])
    print("classify: EfficientNet-Lite0 written as ONNX", flush=True)


main()
