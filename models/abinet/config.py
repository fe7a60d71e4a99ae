"""Sizes of an ABINet: what a checkpoint needs to become a network again."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Tuple

from models.charset import CHARSET_36, MAX_LENGTH

#: The length of a text without a stop character: all steps (MindOCR, the paper's meaning), or the shortest
#: length, 2 (the result of the official code's clamp).
NO_STOP_LENGTHS = ("full", "shortest")

#: Height and width, in pixels, of the normalised crop (paper section 4.2).
IMAGE_SIZE = (32, 128)


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the three models; the defaults are the paper's (36.8 M parameters).

    ``resnet_channels[0]`` is also the stem's width, ``resnet_channels[-1]`` must equal ``d_model``, the width
    that vision, language and alignment share. ``max_length`` counts characters without the stop.
    """

    d_model: int = 512
    heads: int = 8
    d_inner: int = 2048
    vision_layers: int = 3
    language_layers: int = 4
    resnet_channels: Tuple[int, ...] = (32, 64, 128, 256, 512)
    resnet_blocks: Tuple[int, ...] = (3, 4, 6, 6, 3)
    attention_channels: int = 64
    dropout: float = 0.1
    iterations: int = 3
    max_length: int = MAX_LENGTH
    charset: str = CHARSET_36
    no_stop_length: str = "full"

    def __post_init__(self) -> None:
        if len(self.resnet_channels) != 5 or len(self.resnet_blocks) != 5:
            raise ValueError("resnet_channels and resnet_blocks need five numbers each")
        if self.resnet_channels[-1] != self.d_model:
            raise ValueError(
                f"resnet_channels ends in {self.resnet_channels[-1]}, not in d_model, {self.d_model}"
            )
        if self.d_model % (2 * self.heads):
            raise ValueError(f"d_model {self.d_model} is not an even multiple of {self.heads} heads")
        if not self.charset or len(set(self.charset)) != len(self.charset):
            raise ValueError("charset is empty or names a character twice")
        if self.no_stop_length not in NO_STOP_LENGTHS:
            raise ValueError(f"no_stop_length is {self.no_stop_length!r}; known: {NO_STOP_LENGTHS}")

    @property
    def classes(self) -> int:
        """Number of classes: the charset and the null character."""
        return len(self.charset) + 1

    @property
    def steps(self) -> int:
        """Length T of every sequence: ``max_length`` characters and the stop."""
        return self.max_length + 1

    def to_dict(self) -> Dict[str, Any]:
        """The sizes as JSON-ready values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Dict[str, Any]) -> "NetworkConfig":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: an unknown key, or sizes that contradict one another.
        """
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError("unknown network setting: {}".format(", ".join(unknown)))
        settings: Dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)


#: The paper's network; a medium one of 9 M parameters and a quarter of the arithmetic; and the small one that
#: is bundled, 1.5 M parameters: what two CPU cores can train in hours.
NETWORKS: Dict[str, NetworkConfig] = {
    "abinet_resnet45_en": NetworkConfig(),
    "abinet_medium_en": NetworkConfig(d_model=256, d_inner=768, resnet_channels=(32, 48, 96, 128, 256)),
    "abinet_small_en": NetworkConfig(
        d_model=128,
        heads=2,
        d_inner=256,
        vision_layers=1,
        resnet_channels=(8, 24, 48, 64, 128),
        resnet_blocks=(1, 2, 3, 3, 1),
        dropout=0.0,
    ),
}
