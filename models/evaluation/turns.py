"""Which ways up a crop is read, as in service/reading/turns.py."""

from __future__ import annotations

import cv2
import numpy as np

from models.evaluation.reading import Turns

TALL = 1.5

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def ways_up(rgb: np.ndarray, turns: Turns) -> tuple[int, ...]:
    """By how many degrees clockwise a crop (H, W, 3) is turned for each of its readings."""
    height, width = rgb.shape[:2]
    if turns == "all":
        return (0, 90, 180, 270)
    return (0, 90, 270) if turns == "auto" and height > TALL * width else (0,)


def turned(rgb: np.ndarray, degrees: int) -> np.ndarray:
    """A crop (H, W, 3) uint8, turned clockwise by 0, 90, 180 or 270 degrees."""
    return cv2.rotate(rgb, _ROTATIONS[degrees]) if degrees else rgb
