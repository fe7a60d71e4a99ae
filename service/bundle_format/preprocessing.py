"""From a word crop to the network's input: the settings in a checkpoint's NAME.json and its bundles'
manifests, and the one computation for training, evaluation, export and service.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Dict, List, Mapping, Tuple

import cv2
import numpy as np

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
            raise ValueError(
                f"unknown interpolation {self.interpolation!r}; known: {', '.join(INTERPOLATIONS)}"
            )
        if (
            (len(self.mean), len(self.std)) != (3, 3)
            or not np.isfinite(self.mean + self.std).all()
            or min(self.std) <= 0
        ):
            raise ValueError("mean and std need three finite numbers each, std above 0")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """From JSON values; unknown keys and values of another type raise TypeError."""
        settings: Dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)

    def __call__(self, crop: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
        """RGB crop (H, W, 3) uint8 -> network input (3, height, width) float32, of a `size` (height, width):
        shrunk by area if these settings say so, resized, divided by 255 and, if they say so, ``(x - mean) /
        std`` per channel.
        """
        height, width = size
        if self.shrink_by_area and (crop.shape[0] > height or crop.shape[1] > width):
            fitting = min(crop.shape[1], width), min(crop.shape[0], height)
            crop = cv2.resize(crop, fitting, interpolation=cv2.INTER_AREA)
        resized = cv2.resize(crop, (width, height), interpolation=INTERPOLATIONS[self.interpolation])
        planes = np.empty((3, height, width), np.float32)
        tables = _tables(self.mean, self.std) if self.normalise else _tables((0.0,) * 3, (1.0,) * 3)
        for values, table, plane in zip(cv2.split(resized), tables, planes):
            cv2.LUT(values, table, dst=plane)
        return planes


@lru_cache(maxsize=None)
def _tables(mean: Tuple[float, ...], std: Tuple[float, ...]) -> List[np.ndarray]:
    """The result for each of the 256 values of a channel: a look-up costs a sixth of the computation."""
    values = (np.arange(256)[:, None] / 255.0 - mean) / std
    return list(values.T.astype(np.float32, order="C"))
