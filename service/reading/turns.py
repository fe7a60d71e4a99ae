"""Which ways up a crop is read, and which of these readings is its answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from service.crop import Crop
from service.errors import ServiceError
from service.image_decoding.regions import Quad, size_of
from service.image_files import turns as images
from service.image_files import upright_size
from service.reading.decode import certainty
from service.types import Turns

_NO_SIZE = (0, 0)
_PIECE = 1 << 18
"""Characters of base64 that are decoded at a time; four are three bytes."""
_AS_IT_IS = (0,)


def ways_up(file: bytes | str, turns: Turns) -> tuple[int, ...]:
    """By how many degrees clockwise the crop in a file is turned for each of its readings.

    A file that is no image has one reading, its error, unless every crop is read every way up.
    """
    return images.ways_up(*(_size(file) if turns == "auto" else _NO_SIZE), turns)


def ways_up_of_region(region: Quad | ServiceError, turns: Turns) -> tuple[int, ...]:
    """The same for a region of a photo; an error counts as one reading."""
    return _AS_IT_IS if isinstance(region, ServiceError) else images.ways_up(*size_of(region), turns)


def _size(file: bytes | str) -> tuple[int, int]:
    try:
        return upright_size(file if isinstance(file, bytes) else _decoded(file))
    except ValueError:  # no base64, or no image
        return _NO_SIZE


def _decoded(text: str) -> bytes:
    """Decodes in pieces, so that other threads get the interpreter in between. Raises ValueError."""
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)


def surest(readings: Sequence[Crop]) -> Crop:
    """The answer among one crop's readings, which are in the order of `ways_up`: the one with the surest
    characters.

    Among equals it is the first. If the probability of the whole word decided, a short misreading would beat
    a long word that is read correctly. The answer gets the times of the reading that was done last, because
    it waited for it. If a reading failed, the answer is its error, because that reading might have been the
    surest.
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
