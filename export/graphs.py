"""Makes the graphs of a bundle from a trained network: folds products, and rounds weights if asked."""

from typing import Callable, Dict, List, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from models.abinet import NetworkConfig
from models.abinet.abinet import ABINet
from models.abinet.config import IMAGE_SIZE
from models.abinet.transformer import MultiHeadAttention, dense

#: Names of convolutions and of the batch norms that follow them in the network's cells.
_CONV_AND_NORM = (("conv1", "bn1"), ("conv2", "bn2"), ("conv", "bn"), ("0", "1"))

#: The four projections have 4 E^2 multiplications a row; the two products that replace them have 2 heads E^2.
_MOST_FOLDED_HEADS = 2

GRAPHS = ("abinet", "vision", "refine")


class RefineGraph(nn.Cell):
    """One iteration as a graph of its own: (N, T, classes), (N, T, E) -> language logits, fused logits."""

    def __init__(self, network: ABINet) -> None:
        super().__init__()
        self.network = network

    def construct(self, logits: Tensor, features: Tensor) -> Tuple[Tensor, Tensor]:
        return self.network.refine(logits, features)


def cell_of(network: ABINet, graph: str) -> nn.Cell:
    """The cell that becomes ``graph``, one of :data:`GRAPHS`."""
    cells: Dict[str, Callable[[], nn.Cell]] = {
        "abinet": lambda: network,
        "vision": lambda: network.vision,
        "refine": lambda: RefineGraph(network),
    }
    return cells[graph]()


def input_shapes(config: NetworkConfig, graph: str, batch: int) -> List[Tuple[int, ...]]:
    """Shapes of the inputs of ``graph``, all float32."""
    if graph == "refine":
        return [(batch, config.steps, config.classes), (batch, config.steps, config.d_model)]
    return [(batch, 3, *IMAGE_SIZE)]


def fold_batch_norm(network: ABINet) -> None:
    """Moves every batch norm of a network in inference mode into the convolution before it, in place.

    With g = gamma / sqrt(variance + epsilon): weight * g, (bias - mean) * g + beta.
    """
    for _, cell in list(network.cells_and_names()):
        children = cell.name_cells()
        for conv, norm in _CONV_AND_NORM:
            if isinstance(children.get(norm), nn.BatchNorm2d):
                _set_child(cell, conv, _folded(children[conv], children[norm]))
                _set_child(cell, norm, nn.Identity())
    _name_parameters(network)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    gamma, beta, mean, variance = (
        parameter.asnumpy().astype(np.float64)
        for parameter in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    gain = gamma / np.sqrt(variance + norm.eps)
    weight = conv.weight.asnumpy() * gain[:, None, None, None]
    bias = ((conv.bias.asnumpy() if conv.has_bias else 0.0) - mean) * gain + beta
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        pad_mode=conv.pad_mode,
        padding=conv.padding,
        has_bias=True,
    )
    folded.weight.set_data(Tensor(weight.astype(np.float32)))
    folded.bias.set_data(Tensor(bias.astype(np.float32)))
    return folded


class FoldedAttention(nn.Cell):
    """Attention with the keys' weights folded into the queries' and the values' into the output's.

    A head with weights Q, K, V, each (E, E / heads), and with its rows O of the output's weight has the
    scores x Q (m K)' = (x Q K') m' and adds p m V O to the output: x are the queries, m is the memory, p the
    probabilities. The keys' biases move all scores of a row alike and drop out; the values' reach the output
    whole, because a row of p sums to 1. Two products, by (E, heads E) and (heads E, E), take the place of
    four and of as many transpositions, which on CPU cost no less.
    """

    def __init__(self, attention: MultiHeadAttention) -> None:
        super().__init__()
        self.heads = attention.heads
        (q, q_bias), (k, _), (v, v_bias), (o, o_bias) = (
            (linear.weight.asnumpy().astype(np.float64).T, linear.bias.asnumpy().astype(np.float64))
            for linear in (attention.query, attention.key, attention.value, attention.output)
        )
        head = attention.d_head
        parts = [slice(i * head, (i + 1) * head) for i in range(self.heads)]
        self.query = _dense(
            np.concatenate([q[:, part] @ k[:, part].T for part in parts], 1) * attention.scale,
            np.concatenate([q_bias[part] @ k[:, part].T for part in parts]) * attention.scale,
        )
        self.output = _dense(np.concatenate([v[:, part] @ o[part] for part in parts]), v_bias @ o + o_bias)
        self.softmax = nn.Softmax(axis=-1)
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.weighted = ops.BatchMatMul()

    def construct(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        n, t, e = query.shape
        s = memory.shape[1]
        scores = self.scores(self.query(query).reshape(n, t * self.heads, e), memory)
        scores = scores.reshape(n, t, self.heads, s) + mask.reshape(n, t, 1, s)
        x = self.weighted(self.softmax(scores).reshape(n, t * self.heads, s), memory)
        return self.output(x.reshape(n, t, self.heads * e))


def fold_attention(network: ABINet) -> None:
    """Folds the language model's attention, in place, if it has so few heads that no product gets larger."""
    for layer in network.language.decoder:
        if layer.attention.heads <= _MOST_FOLDED_HEADS:
            layer.attention = FoldedAttention(layer.attention)
    _name_parameters(network)


def _dense(weight: np.ndarray, bias: np.ndarray) -> nn.Dense:
    """A linear layer with this weight, (in, out), and bias."""
    inputs, outputs = weight.shape
    made = dense(inputs, outputs)
    made.weight.set_data(Tensor(np.ascontiguousarray(weight.T, np.float32)))
    made.bias.set_data(Tensor(bias.astype(np.float32)))
    return made


class Linear(nn.Cell):
    """A linear layer whose weight lies as (in, out).

    MindSpore on CPU multiplies a transposed weight slower: at 256 rows by a quarter, at the 26 rows of the
    language model by two thirds.
    """

    def __init__(self, dense: nn.Dense, storage: type) -> None:
        super().__init__()
        weight = dense.weight.asnumpy().T
        self.weight = Parameter(Tensor(np.ascontiguousarray(weight, storage)), name="weight")
        self.bias = Parameter(Tensor(dense.bias.asnumpy()), name="bias") if dense.has_bias else None
        self.inputs, self.outputs = weight.shape
        self.multiply = ops.MatMul()
        self.add_bias = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        y = self.multiply(x.reshape(-1, self.inputs), self.weight.astype(ms.float32))
        if self.bias is not None:
            y = self.add_bias(y, self.bias)
        return y.reshape(x.shape[:-1] + (self.outputs,))  # noqa: RUF005 - MindSpore 2.0 parses no star


class HalfConv(nn.Cell):
    """A convolution that stores its weight in half precision and computes in single."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(conv.weight.asnumpy().astype(np.float16)), name="weight")
        self.bias = Parameter(Tensor(conv.bias.asnumpy()), name="bias")
        self.convolve = conv.conv2d
        self.add_bias = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        return self.add_bias(self.convolve(x, self.weight.astype(ms.float32)), self.bias)


def store_weights(network: ABINet, precision: str) -> None:
    """Lays the weights of a folded network out as its graphs keep them, in place: those of linear layers
    as (in, out), and for ``precision`` fp16 all of them in half precision."""
    half = precision == "fp16"
    for _, cell in list(network.cells_and_names()):
        for name, child in cell.name_cells().items():
            if isinstance(child, nn.Dense):
                _set_child(cell, name, Linear(child, np.float16 if half else np.float32))
            elif half and isinstance(child, nn.Conv2d):
                _set_child(cell, name, HalfConv(child))
    _name_parameters(network)


def _set_child(cell: nn.Cell, name: str, child: nn.Cell) -> None:
    if name.isdigit():
        cell[int(name)] = child
    else:
        setattr(cell, name, child)


def _name_parameters(network: ABINet) -> None:
    """Gives parameters of exchanged cells their full names, by which a graph tells them apart."""
    for name, parameter in network.parameters_and_names():
        parameter.name = name
