"""Which ways up a crop is read, as in service/reading/turns.py."""

from __future__ import annotations

import numpy as np

from models.evaluation.reading import Turns
from service.image_files import turns as images
from service.image_files.turns import turned

__all__ = ["turned", "ways_up"]


def ways_up(rgb: np.ndarray, turns: Turns) -> tuple[int, ...]:
    """By how many degrees clockwise a crop (H, W, 3) is turned for each of its readings."""
    height, width = rgb.shape[:2]
    return images.ways_up(width, height, turns)
