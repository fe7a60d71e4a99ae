"""Fusion of the vision and the language features (paper section 3.3)."""

from mindspore import Tensor, nn, ops

from models.abinet.config import NetworkConfig
from models.abinet.transformer import dense


class Alignment(nn.Cell):
    """Language and vision features (N, T, E) -> fused logits (N, T, classes): G F_v + (1 - G) F_l with
    the gate G = sigmoid([F_l, F_v] W), a number a channel."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.gate = dense(2 * config.d_model, config.d_model)
        self.cls = dense(config.d_model, config.classes)
        self.concat = ops.Concat(axis=2)
        self.sigmoid = nn.Sigmoid()

    def construct(self, language: Tensor, vision: Tensor) -> Tensor:
        gate = self.sigmoid(self.gate(self.concat((language, vision))))
        return self.cls(gate * vision + (1.0 - gate) * language)
