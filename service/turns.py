"""Which ways up a crop is read, and which of these readings is its answer."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from service.image_header import Size
from service.scheduler import Crop
from service.schemas import Turns

TALL = 1.5
"""A crop whose height is more than so many times its width may be a word on its side."""

_AS_IT_IS = (0,)
_ON_EITHER_SIDE = (0, 90, 270)
_EVERY_WAY_UP = (0, 90, 180, 270)
_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def ways_up(size: Size, turns: Turns) -> tuple[int, ...]:
    """By how many degrees clockwise a crop of this size is turned for each of its readings."""
    width, height = size
    if turns == "all":
        return _EVERY_WAY_UP
    return _ON_EITHER_SIDE if turns == "auto" and height > TALL * width else _AS_IT_IS


def turned(crop: np.ndarray, degrees: int) -> np.ndarray:
    """A crop (height, width, 3), turned clockwise by 0, 90, 180 or 270 degrees."""
    return cv2.rotate(crop, _ROTATIONS[degrees]) if degrees else crop


def surest(readings: Sequence[Crop]) -> Crop:
    """Of one crop's readings, in the order of `ways_up`, the answer: the most confident, the first of equals.

    Its times become those of the reading that was done last, because the answer waited for that one. Where a
    reading failed, the answer is that failure: the others do not tell what it would have said.
    """
    for reading in readings:
        if reading.error is not None:
            return reading
    answer = max(readings, key=lambda reading: reading.predictions[-1].confidence)
    answer.take_times(max(readings, key=lambda reading: reading.since))
    return answer
