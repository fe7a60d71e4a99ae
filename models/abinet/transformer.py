"""Transformer parts shared by vision and language: post-norm layers as in Vaswani et al. 2017."""

import math
from typing import Optional

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import XavierUniform

from models.abinet.config import NetworkConfig

LAYER_NORM_EPSILON = 1e-5


def dense(inputs: int, outputs: int, bias: bool = True) -> nn.Dense:
    """A linear layer with the same initial values on every MindSpore release."""
    return nn.Dense(inputs, outputs, weight_init=XavierUniform(), bias_init="zeros", has_bias=bias)


def dropout(rate: float) -> nn.Cell:
    """Dropout, or nothing at all if ``rate`` is 0: on CPU its random numbers cost as much as the layer."""
    return nn.Dropout(p=rate) if rate else nn.Identity()


def sinusoids(length: int, d_model: int) -> np.ndarray:
    """Sine and cosine positions, shape (length, d_model), float32."""
    position = np.arange(length, dtype=np.float32)[:, None]
    rate = np.exp(np.arange(0, d_model, 2, dtype=np.float32) * (-math.log(10000.0) / d_model))
    table = np.zeros((length, d_model), np.float32)
    table[:, 0::2] = np.sin(position * rate)
    table[:, 1::2] = np.cos(position * rate)
    return table


class PositionalEncoding(nn.Cell):
    """Adds a table of positions (length, E), part of the checkpoint but never trained, to (N, length, E)."""

    def __init__(self, length: int, d_model: int, rate: float = 0.0) -> None:
        super().__init__()
        self.pe = Parameter(Tensor(sinusoids(length, d_model)), name="pe", requires_grad=False)
        self.dropout = dropout(rate)

    def construct(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe)


class MultiHeadAttention(nn.Cell):
    """Scaled dot-product attention of ``query`` (N, T, E) over ``memory`` (N, S, E), giving (N, T, E).

    ``mask`` is additive and broadcasts to (N, heads, T, S).
    """

    def __init__(self, d_model: int, heads: int, rate: float) -> None:
        super().__init__()
        self.heads = heads
        self.d_head = d_model // heads
        self.query = dense(d_model, d_model)
        self.key = dense(d_model, d_model)
        self.value = dense(d_model, d_model)
        self.output = dense(d_model, d_model)
        self.dropout = dropout(rate)
        self.softmax = nn.Softmax(axis=-1)
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.weighted = ops.BatchMatMul()
        self.scale = 1.0 / math.sqrt(self.d_head)

    def _split(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        return x.reshape(n, t, self.heads, self.d_head).transpose(0, 2, 1, 3)

    def construct(self, query: Tensor, memory: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        q = self._split(self.query(query) * self.scale)
        k = self._split(self.key(memory))
        v = self._split(self.value(memory))
        scores = self.scores(q, k)
        if mask is not None:
            scores = scores + mask
        x = self.weighted(self.dropout(self.softmax(scores)), v)
        return self.output(x.transpose(0, 2, 1, 3).reshape(query.shape))


class TransformerLayer(nn.Cell):
    """Attention and feed-forward, each followed by residual and layer norm.

    With ``memory`` the input itself this is the vision model's encoder layer (section 3.1); with the
    characters as memory and positions as input it is the language model's decoder layer, which has no
    self-attention (section 3.2).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d_model, d_inner = config.d_model, config.d_inner
        self.attention = MultiHeadAttention(d_model, config.heads, config.dropout)
        self.norm1 = nn.LayerNorm((d_model,), epsilon=LAYER_NORM_EPSILON)
        self.linear1 = dense(d_model, d_inner)
        self.linear2 = dense(d_inner, d_model)
        self.norm2 = nn.LayerNorm((d_model,), epsilon=LAYER_NORM_EPSILON)
        self.relu = nn.ReLU()
        self.dropout1 = dropout(config.dropout)
        self.dropout2 = dropout(config.dropout)
        self.dropout3 = dropout(config.dropout)

    def construct(self, x: Tensor, memory: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        x = self.norm1(x + self.dropout1(self.attention(x, memory, mask)))
        y = self.linear2(self.dropout2(self.relu(self.linear1(x))))
        return self.norm2(x + self.dropout3(y))
