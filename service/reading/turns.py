"""Which ways up a crop is read, and which of these readings is its answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from service.crop import Crop
from service.image_files import upright_size
from service.reading.decode import certainty
from service.types import Turns

TALL = 1.5
"""A crop whose height is more than so many times its width may be a word on its side."""

_AS_IT_IS = (0,)
_ON_EITHER_SIDE = (0, 90, 270)
_EVERY_WAY_UP = (0, 90, 180, 270)


def ways_up(file: bytes | str, turns: Turns) -> tuple[int, ...]:
    """By how many degrees clockwise the crop in a file is turned for each of its readings.

    What is no image has its error as one reading.
    """
    if turns == "all":
        return _EVERY_WAY_UP
    return _ON_EITHER_SIDE if turns == "auto" and _is_tall(file) else _AS_IT_IS


def _is_tall(file: bytes | str) -> bool:
    try:
        width, height = upright_size(
            file if isinstance(file, bytes) else base64.b64decode(file, validate=True)
        )
    except ValueError:  # no base64, or no image
        return False
    return height > TALL * width


def surest(readings: Sequence[Crop]) -> Crop:
    """Of one crop's readings, in the order of `ways_up`, the answer: the surest by the character.

    Of equals it is the first. By the probability of the whole word a short misreading would beat a long word
    that is read right. The answer's times become those of the reading that was done last, because it waited
    for that one. If a reading failed, the answer is its error: nobody knows what it would have said.
    """
    for reading in readings:
        if reading.error is not None:
            return reading
    if len(readings) == 1:
        return readings[0]
    sureness = certainty(np.stack([reading.logits[-1] for reading in readings]))
    answer = readings[int(sureness.argmax())]
    answer.take_times(max(readings, key=lambda reading: reading.since))
    return answer
