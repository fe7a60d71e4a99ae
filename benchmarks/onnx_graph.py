"""ABINet as an ONNX graph, made from a native checkpoint: the outside reference of the benchmark.

Written node by node from the parameters' names, batch norms folded, as a careful exporter would leave it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.abinet import NetworkConfig
from models.abinet.config import IMAGE_SIZE
from models.abinet.language import HIDDEN, SHORTEST
from models.abinet.resnet import STRIDES
from models.abinet.transformer import LAYER_NORM_EPSILON

OPSET, IR_VERSION = 17, 9  # the first with LayerNormalization
BATCH_NORM_EPSILON = 1e-5
ATTENTION_STRIDES = ((1, 2), (2, 2), (2, 2), (2, 2))

Parameters = dict[str, np.ndarray]


def build(parameters: Parameters, config: NetworkConfig, batch: int) -> onnx.ModelProto:
    """What abinet.mindir is: images (batch, 3, 32, 128) -> 1 + 2 * iterations logits (batch, T, classes)."""
    builder = Builder(parameters, config, batch)
    logits, features = builder.vision("images")
    outputs = [logits]
    for _ in range(config.iterations):
        language, logits = builder.refine(logits, features)
        outputs += [language, logits]
    answer = [batch, config.steps, config.classes]
    graph = helper.make_graph(
        builder.nodes,
        "abinet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *IMAGE_SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, answer) for name in outputs],
        list(builder.initializers.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


class Builder:
    """Collects nodes. Methods take and return names of tensors; `at` is where parameters' names begin."""

    def __init__(self, parameters: Parameters, config: NetworkConfig, batch: int) -> None:
        self.parameters = parameters
        self.config = config
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output and returns the output's name."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: Any, dtype: type = np.float32, name: str = "") -> str:
        """A tensor of the graph; given a name it is stored once, however often it is asked for."""
        name = name or f"constant_{len(self.initializers)}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value, dtype), name)
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant(shape, np.int64, f"shape_{shape}"))

    def conv(self, x: str, at: str, norm: str, stride: Sequence[int] = (1, 1)) -> str:
        """A convolution with the batch norm after it folded in, (weight * g, (bias - mean) * g + beta)."""
        p = self.parameters
        gain = p[f"{norm}.gamma"] / np.sqrt(p[f"{norm}.moving_variance"] + BATCH_NORM_EPSILON)
        weight = p[f"{at}.weight"] * gain[:, None, None, None]
        bias = (p.get(f"{at}.bias", 0.0) - p[f"{norm}.moving_mean"]) * gain + p[f"{norm}.beta"]
        kernel = weight.shape[-1]
        return self.op(
            "Conv",
            x,
            self.constant(weight, name=f"{at}.weight"),
            self.constant(bias, name=f"{at}.bias"),
            kernel_shape=[kernel, kernel],
            strides=list(stride),
            pads=[kernel // 2] * 4,
        )

    def linear(self, x: str, at: str) -> str:
        """x W^T + b; the checkpoint stores W as (out, in)."""
        y = self.op("MatMul", x, self.constant(self.parameters[f"{at}.weight"].T, name=f"{at}.weight"))
        bias = self.parameters.get(f"{at}.bias")
        return y if bias is None else self.op("Add", y, self.constant(bias, name=f"{at}.bias"))

    def norm(self, x: str, at: str) -> str:
        gain = self.constant(self.parameters[f"{at}.gamma"], name=f"{at}.gamma")
        bias = self.constant(self.parameters[f"{at}.beta"], name=f"{at}.beta")
        return self.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def resnet(self, x: str) -> str:
        """Images to a feature map (N, E, 8, 32)."""
        at = "vision.resnet"
        x = self.op("Relu", self.conv(x, f"{at}.conv1", f"{at}.bn1"))
        for stage, blocks in enumerate(self.config.resnet_blocks, 1):
            for block in range(blocks):
                stride = [STRIDES[stage - 1] if block == 0 else 1] * 2
                x = self.block(x, f"{at}.layer{stage}.{block}", stride)
        return x

    def block(self, x: str, at: str, stride: Sequence[int]) -> str:
        y = self.op("Relu", self.conv(x, f"{at}.conv1", f"{at}.bn1"))
        y = self.conv(y, f"{at}.conv2", f"{at}.bn2", stride)
        if f"{at}.downsample.0.weight" in self.parameters:
            x = self.conv(x, f"{at}.downsample.0", f"{at}.downsample.1", stride)
        return self.op("Relu", self.op("Add", y, x))

    def heads(self, x: str) -> str:
        """(N, T, E) -> (N, heads, T, E / heads)."""
        heads, width = self.config.heads, self.config.d_model // self.config.heads
        return self.op("Transpose", self.reshape(x, 0, 0, heads, width), perm=[0, 2, 1, 3])

    def attention(self, x: str, memory: str, at: str, mask: str = "") -> str:
        scale = self.constant(1 / np.sqrt(self.config.d_model // self.config.heads), name="head_scale")
        query = self.heads(self.op("Mul", self.linear(x, f"{at}.query"), scale))
        key = self.op("Transpose", self.heads(self.linear(memory, f"{at}.key")), perm=[0, 1, 3, 2])
        scores = self.op("MatMul", query, key)
        if mask:
            scores = self.op("Add", scores, mask)
        y = self.op(
            "MatMul", self.op("Softmax", scores, axis=-1), self.heads(self.linear(memory, f"{at}.value"))
        )
        y = self.reshape(self.op("Transpose", y, perm=[0, 2, 1, 3]), 0, 0, self.config.d_model)
        return self.linear(y, f"{at}.output")

    def layer(self, x: str, memory: str, at: str, mask: str = "") -> str:
        """A post-norm transformer layer."""
        x = self.norm(self.op("Add", x, self.attention(x, memory, f"{at}.attention", mask)), f"{at}.norm1")
        y = self.linear(self.op("Relu", self.linear(x, f"{at}.linear1")), f"{at}.linear2")
        return self.norm(self.op("Add", x, y), f"{at}.norm2")

    def position_attention(self, feature_map: str) -> str:
        """(N, E, 8, 32) -> (N, T, E), keys through the mini U-Net."""
        at, width = "vision.attention", self.config.d_model
        maps, x = [], feature_map
        for i, stride in enumerate(ATTENTION_STRIDES):
            x = self.op("Relu", self.conv(x, f"{at}.encoder.{i}.conv", f"{at}.encoder.{i}.bn", stride))
            maps.append(x)
        for i, scales in enumerate(reversed(ATTENTION_STRIDES)):
            x = self.upsample(x, scales)
            x = self.op("Relu", self.conv(x, f"{at}.decoder.{i}.conv", f"{at}.decoder.{i}.bn"))
            if i < 3:
                x = self.op("Add", x, maps[2 - i])
        p = self.parameters
        query = p[f"{at}.pos_encoder.pe"] @ p[f"{at}.project.weight"].T + p[f"{at}.project.bias"]
        scores = self.op("MatMul", self.constant(query[None] / np.sqrt(width)), self.reshape(x, 0, width, -1))
        values = self.op("Transpose", self.reshape(feature_map, 0, width, -1), perm=[0, 2, 1])
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), values)

    def upsample(self, x: str, scales: Sequence[int]) -> str:
        factors = self.constant([1, 1, *scales], name=f"scales_{scales}")
        return self.op(
            "Resize",
            x,
            "",
            factors,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )

    def vision(self, images: str) -> tuple[str, str]:
        """Images -> logits (N, T, classes), features (N, T, E)."""
        width = self.config.d_model
        sequence = self.op("Transpose", self.reshape(self.resnet(images), 0, width, -1), perm=[0, 2, 1])
        x = self.op("Add", sequence, self.constant(self.parameters["vision.pos_encoder.pe"]))
        for i in range(self.config.vision_layers):
            x = self.layer(x, x, f"vision.encoder.{i}")
        x = self.op("Transpose", x, perm=[0, 2, 1])
        features = self.position_attention(self.reshape(x, 0, width, IMAGE_SIZE[0] // 4, IMAGE_SIZE[1] // 4))
        return self.linear(features, "vision.cls"), features

    def mask(self, logits: str) -> str:
        """What the language model may not see: each position itself, and all beyond the first null."""
        steps = self.config.steps
        without_stop = steps if self.config.no_stop_length == "full" else SHORTEST
        nulls = self.op(
            "Equal", self.op("ArgMax", logits, axis=-1, keepdims=0), self.constant(0, np.int64, "null")
        )
        ends = self.constant(np.arange(1, steps + 1)[None], name="ends")
        endless = self.constant(steps + 1, name="endless")
        length = self.op("ReduceMin", self.op("Where", nulls, ends, endless), axes=[1], keepdims=1)
        unstopped = self.op("Equal", length, endless)
        length = self.op("Where", unstopped, self.constant(without_stop, name="without_stop"), length)
        length = self.op("Max", length, self.constant(SHORTEST, name="shortest"))
        beyond = self.op("Cast", self.op("Greater", ends, length), to=TensorProto.FLOAT)
        padding = self.op(
            "Mul", self.reshape(beyond, self.batch, 1, 1, steps), self.constant(HIDDEN, name="hidden")
        )
        return self.op(
            "Add", padding, self.constant(np.eye(steps)[None, None] * HIDDEN, name="location_mask")
        )

    def refine(self, logits: str, features: str) -> tuple[str, str]:
        """One iteration: language logits and fused logits (N, T, classes)."""
        p, mask = self.parameters, self.mask(logits)
        memory = self.linear(self.op("Softmax", logits, axis=-1), "language.proj")
        memory = self.op("Add", memory, self.constant(p["language.token_encoder.pe"], name="tokens"))
        positions = np.repeat(p["language.pos_encoder.pe"][None], self.batch, axis=0)
        x = self.constant(positions, name="positions")
        for i in range(self.config.language_layers):
            x = self.layer(x, memory, f"language.decoder.{i}", mask)
        gate = self.op("Sigmoid", self.linear(self.op("Concat", x, features, axis=2), "alignment.gate"))
        rest = self.op("Sub", self.constant(1.0, name="one"), gate)
        fused = self.op("Add", self.op("Mul", gate, features), self.op("Mul", rest, x))
        return self.linear(x, "language.cls"), self.linear(fused, "alignment.cls")
