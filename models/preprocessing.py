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
    """Part of a checkpoint's identity; the defaults are the official code's.

    ``shrink_by_area``: a side of a crop that is longer than the network's input is first averaged down to it,
    because ``interpolation`` alone skips pixels there and noise becomes strokes.
    """

    interpolation: str = "linear"
    mean: Tuple[float, ...] = (0.485, 0.456, 0.406)
    std: Tuple[float, ...] = (0.229, 0.224, 0.225)
    normalise: bool = True
    shrink_by_area: bool = False

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
        """RGB crop (H, W, 3) uint8 -> (3, 32, 128) float32: shrunk by area if the checkpoint wants it,
        resized, divided by 255 and, if the checkpoint wants it, ``(x - mean) / std`` per channel."""
        height, width = IMAGE_SIZE
        if self.shrink_by_area and (crop.shape[0] > height or crop.shape[1] > width):
            fitting = min(crop.shape[1], width), min(crop.shape[0], height)
            crop = cv2.resize(crop, fitting, interpolation=cv2.INTER_AREA)
        image = cv2.resize(crop, (width, height), interpolation=INTERPOLATIONS[self.interpolation])
        image = image.astype(np.float32) / 255.0
        if self.normalise:
            image = (image - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(image.transpose(2, 0, 1))
