"""Which ways up an image is read, and an image turned."""

from typing import Tuple

import cv2
import numpy as np

TALL = 1.5
"""An image whose height is more than this many times its width may be a word on its side."""

_AS_IT_IS = (0,)
_ON_EITHER_SIDE = (0, 90, 270)
_EVERY_WAY_UP = (0, 90, 180, 270)
_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def ways_up(width: float, height: float, turns: str) -> Tuple[int, ...]:
    """By how many degrees clockwise an image of this size is turned for each of its readings.

    `turns` is "auto", "none" or "all".
    """
    if turns == "all":
        return _EVERY_WAY_UP
    return _ON_EITHER_SIDE if turns == "auto" and height > TALL * width else _AS_IT_IS


def turned(image: np.ndarray, degrees: int) -> np.ndarray:
    """An image (height, width, 3), turned clockwise by 0, 90, 180 or 270 degrees."""
    return cv2.rotate(image, _ROTATIONS[degrees]) if degrees else image
