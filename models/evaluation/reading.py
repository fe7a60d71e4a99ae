"""What every engine says about a crop, and what an engine is to the evaluation: a `Reader`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np

Turns = Literal["auto", "none", "all"]
"""Ways up that crops are read: auto turns tall ones to either side as well, all every crop, none none."""

NULL = 0
"""The class that stops a word; class i is the charset's character i - 1."""


class Crop(NamedTuple):
    """A labelled crop: its number in the set from 0 on, as it is stored (the bytes of an image file), and as
    pixels (H, W, 3) uint8, RGB."""

    number: int
    label: str
    encoded: bytes
    rgb: np.ndarray


class Prediction(NamedTuple):
    """What one stage read. The probability, in (0, 1], is what the network gives the word: the product of
    those of its characters and of the stop."""

    text: str
    probability: float


class Reading(NamedTuple):
    """What vision read, and in every iteration the language model and its fusion with vision.

    `confidence`, 0 to 1, is the calibrated probability that the final reading is right; of a network that is
    not calibrated, the final reading's own probability. `turned` is by how many degrees clockwise the crop
    was turned for it.
    """

    vision: Prediction
    language: tuple[Prediction, ...]
    fused: tuple[Prediction, ...]
    confidence: float
    turned: int = 0

    @property
    def stages(self) -> tuple[Prediction, ...]:
        """Vision, then language and fused of every iteration."""
        refinements = (part for pair in zip(self.language, self.fused, strict=True) for part in pair)
        return (self.vision, *refinements)

    @property
    def final(self) -> Prediction:
        """The reading that counts: the last stage's."""
        return self.stages[-1]

    @classmethod
    def of(cls, stages: Iterable[Prediction], confidence: float) -> Reading:
        """The inverse of `stages`."""
        vision, *refinements = stages
        return cls(vision, tuple(refinements[0::2]), tuple(refinements[1::2]), confidence)


class Refusal(NamedTuple):
    """An engine would not read the crop."""

    reason: str


class Reader(Protocol):
    """A network in some engine."""

    model: str
    """Name of the weights."""
    engine: str
    """What computes, and its release."""
    iterations: int
    calibrated: bool
    turns: Turns

    def read(self, crops: Iterable[Crop]) -> Iterator[Reading | Refusal]:
        """One result a crop, in the crops' order.

        Raises:
            ValueError: the engine cannot go on.
        """
        ...


def word_lengths(classes: np.ndarray) -> np.ndarray:
    """Classes (N, T) -> (N,): characters before the first null, or T without one."""
    stops = classes == NULL
    return np.where(stops.any(axis=-1), stops.argmax(axis=-1), classes.shape[-1])


def decode(logits: np.ndarray, charset: str) -> list[Prediction]:
    """Logits (N, T, classes) -> N predictions. A text ends before its first null, or has all T characters."""
    best = logits.argmax(axis=-1)
    lengths = word_lengths(best)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    certainty = -np.log(np.exp(shifted).sum(axis=-1))  # of each step's best class
    return [
        Prediction(
            "".join(charset[index - 1] for index in classes[:length]),
            float(np.exp(logs[: length + 1].sum(dtype=np.float64))),
        )
        for classes, logs, length in zip(best, certainty, lengths, strict=True)
    ]
