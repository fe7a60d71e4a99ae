"""From a word crop to the network's input, the same in training, export and evaluation."""

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple

import cv2
import numpy as np

from models.abinet.config import IMAGE_SIZE

INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
}


@dataclass(frozen=True)
class Preprocessing:
    """Part of a checkpoint's identity; the defaults are the official code's."""

    interpolation: str = "linear"
    mean: Tuple[float, ...] = (0.485, 0.456, 0.406)
    std: Tuple[float, ...] = (0.229, 0.224, 0.225)
    normalise: bool = True

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation is {self.interpolation!r}; known: {', '.join(INTERPOLATIONS)}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std need three numbers each, std above 0")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """From JSON values; unknown keys raise TypeError."""
        settings: Dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """RGB crop (H, W, 3) uint8 -> (3, 32, 128) float32: resized, divided by 255 and, where the checkpoint
        wants it, ``(x - mean) / std`` per channel."""
        height, width = IMAGE_SIZE
        image = cv2.resize(crop, (width, height), interpolation=INTERPOLATIONS[self.interpolation])
        image = image.astype(np.float32) / 255.0
        if self.normalise:
            image = (image - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(image.transpose(2, 0, 1))
