"""The reading of a crop, and the interface of all that reads crops for the evaluation: `CropReader`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np

from models.charset import DecodedText

Turns = Literal["auto", "none", "all"]
"""Ways up that crops are read: auto turns tall ones to either side as well, all every crop, none none."""


class LabelledCrop(NamedTuple):
    """A labelled crop: its number in the set from 0 on, as it is stored (the bytes of an image file), and as
    pixels (H, W, 3) uint8, RGB."""

    number: int
    label: str
    encoded: bytes
    rgb: np.ndarray


class StagedReading(NamedTuple):
    """The readings of vision and, for every iteration, of the language model and its fusion with vision.

    `confidence`, 0 to 1, is the calibrated probability that the final reading is right; if the network is not
    calibrated, the final reading's own probability. `turned` is by how many degrees clockwise the crop was
    turned for it.
    """

    vision: DecodedText
    language: tuple[DecodedText, ...]
    fused: tuple[DecodedText, ...]
    confidence: float
    turned: int = 0

    @property
    def stages(self) -> tuple[DecodedText, ...]:
        """Vision, then language and fused of every iteration."""
        refinements = (part for pair in zip(self.language, self.fused, strict=True) for part in pair)
        return (self.vision, *refinements)

    @property
    def final(self) -> DecodedText:
        """The reading that counts: the last stage's."""
        return self.stages[-1]

    @classmethod
    def of(cls, stages: Iterable[DecodedText], confidence: float) -> StagedReading:
        """The inverse of `stages`."""
        vision, *refinements = stages
        return cls(vision, tuple(refinements[0::2]), tuple(refinements[1::2]), confidence)


class Refusal(NamedTuple):
    """The reason why an engine refused a crop."""

    reason: str


class CropReader(Protocol):
    """A network in some engine."""

    model: str
    """Name of the weights."""
    engine: str
    """The library that computes, and its release."""
    iterations: int
    calibrated: bool
    turns: Turns

    def read(self, crops: Iterable[LabelledCrop]) -> Iterator[StagedReading | Refusal]:
        """One result a crop, in the crops' order.

        Raises:
            ValueError: the engine cannot go on.
        """
        ...
