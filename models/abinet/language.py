"""The bidirectional cloze language model (paper section 3.2)."""

from typing import Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from models.abinet.config import NetworkConfig
from models.abinet.transformer import PositionalEncoding, TransformerLayer, dense
from models.charset import NULL

#: Added to the scores of masked positions; large enough for softmax, small enough for half precision.
HIDDEN = -1e4

#: The language model never gets fewer positions than this, because a single one would see nothing.
SHORTEST = 2


class TextLength(nn.Cell):
    """Logits (N, T, classes) -> lengths (N,) float32: position of the first null + 1, within [2, T]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.steps = config.steps
        self.without_stop = float(config.steps if config.no_stop_length == "full" else SHORTEST)
        self.ends = Tensor(np.arange(1, config.steps + 1, dtype=np.float32))
        self.argmax = ops.Argmax(axis=-1)
        self.first = ops.ReduceMin()

    def construct(self, logits: Tensor) -> Tensor:
        reads_on = (self.argmax(logits) != NULL).astype(ms.float32)
        length = self.first(self.ends + reads_on * self.steps, 1)
        unstopped = (length > self.steps).astype(ms.float32)
        length = unstopped * self.without_stop + (1.0 - unstopped) * length
        return ops.maximum(length, Tensor(float(SHORTEST), ms.float32))


class LanguageModel(nn.Cell):
    """Character probabilities (N, T, classes), lengths (N,) -> logits (N, T, classes), features (N, T, E).

    Each position is predicted from all others: the location mask hides the position itself, the padding mask
    what lies beyond the length. No gradient passes back through the probabilities.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.proj = dense(config.classes, config.d_model, bias=False)
        self.token_encoder = PositionalEncoding(config.steps, config.d_model, config.dropout)
        self.pos_encoder = PositionalEncoding(config.steps, config.d_model)
        self.decoder = nn.CellList([TransformerLayer(config) for _ in range(config.language_layers)])
        self.cls = dense(config.d_model, config.classes)
        self.location_mask = Tensor(np.eye(config.steps, dtype=np.float32)[None, None] * HIDDEN)
        self.positions = Tensor(np.arange(config.steps, dtype=np.float32)[None])

    def _mask(self, lengths: Tensor) -> Tensor:
        beyond = (self.positions >= lengths.expand_dims(1)).astype(ms.float32)
        n, steps = beyond.shape
        return self.location_mask + beyond.reshape(n, 1, 1, steps) * HIDDEN

    def construct(self, probabilities: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        memory = self.token_encoder(self.proj(ops.stop_gradient(probabilities)))
        mask = self._mask(lengths)
        x = self.pos_encoder(ops.zeros_like(memory))
        for layer in self.decoder:
            x = layer(x, memory, mask)
        return self.cls(x), x
