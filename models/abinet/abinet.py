"""ABINet: vision, then language and alignment in turn (paper section 3, figure 2)."""

from typing import Tuple

from mindspore import Tensor, nn

from models.abinet.alignment import Alignment
from models.abinet.config import NetworkConfig
from models.abinet.language import LanguageModel, TextLength
from models.abinet.vision import VisionModel


class ABINet(nn.Cell):
    """Images (N, 3, 32, 128), float32, normalised, any N -> ``1 + 2 * iterations`` logits (N, T, classes).

    In order: vision, then for every iteration language and fused. The last is the reading.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.vision = VisionModel(config)
        self.language = LanguageModel(config)
        self.alignment = Alignment(config)
        self.text_length = TextLength(config)
        self.softmax = nn.Softmax(axis=-1)
        self.iterations = config.iterations

    def refine(self, logits: Tensor, vision_features: Tensor) -> Tuple[Tensor, Tensor]:
        """One iteration (section 3.2): the last logits (N, T, classes) and the vision features (N, T, E) in,
        language logits and fused logits (N, T, classes) out."""
        language_logits, features = self.language(self.softmax(logits), self.text_length(logits))
        return language_logits, self.alignment(features, vision_features)

    def construct(self, images: Tensor) -> Tuple[Tensor, ...]:
        logits, features = self.vision(images)
        outputs = (logits,)  # type: Tuple[Tensor, ...]
        for _ in range(self.iterations):
            language_logits, logits = self.refine(logits, features)
            outputs += (language_logits, logits)
        return outputs
