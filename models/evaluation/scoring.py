"""Decides which readings are right, and scores a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import tee
from typing import NamedTuple

import numpy as np

from models.charset import NULL, fold, text_lengths
from models.data.sets.folders import LabelledSet, SetPath, open_set
from models.data.sets.samples import UnusableSample, decode_crop, fold_label
from models.evaluation.reading import CropReader, LabelledCrop, Refusal, StagedReading


@dataclass(frozen=True)
class Mistake:
    """A crop whose final reading is wrong; ``number`` counts the set at ``path`` from 0 on."""

    path: SetPath
    number: int
    label: str
    reading: StagedReading


class Judgement(NamedTuple):
    """How sure a final reading was, 0 to 1, and whether it is right."""

    confidence: float
    right: bool


@dataclass
class SetScore:
    """The score of a set. ``right`` counts the crops that each of `StagedReading.stages` read correctly;
    ``outcomes`` has their final readings; ``skipped`` counts the samples that were not read, by reason.
    """

    name: str
    path: SetPath
    right: np.ndarray
    crops: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    mistakes: list[Mistake] = field(default_factory=list)
    outcomes: list[Judgement] = field(default_factory=list)

    @property
    def accuracy(self) -> np.ndarray:
        """Shares of the crops, a stage each; not a number if no crop was read."""
        return self.right / self.crops if self.crops else np.full(len(self.right), np.nan)


def is_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logits (N, T, classes), labels (N, T) with nulls after the end -> (N,) bool: read without a mistake."""
    classes = logits.argmax(-1)
    ended = np.arange(classes.shape[1]) >= text_lengths(classes)[:, None]
    right: np.ndarray = (np.where(ended, NULL, classes) == labels).all(axis=1)
    return right


def reads(text: str, label: str) -> bool:
    """Whether a text agrees with a label of [0-9a-z]: case and all other characters do not count."""
    return fold(text) == label


def score_set(
    reader: CropReader,
    path: SetPath,
    limit: int | None = None,
    advance: Callable[[], object] = lambda: None,
    labels: Callable[[str], str] = fold_label,
) -> SetScore:
    """Reads the first ``limit`` samples of a set; ``labels`` makes labels from the texts. Calls ``advance``
    after each.

    Raises:
        ValueError, OSError: no such set, or the engine cannot go on.
    """
    labelled = open_set(path, fold=labels)
    score = SetScore(labelled.name, path, np.zeros(1 + 2 * reader.iterations, int))
    for crop, reading in read_set(reader, labelled, score.skipped, limit, advance):
        _count(score, crop, reading)
    return score


def read_set(
    reader: CropReader,
    labelled: LabelledSet,
    skipped: Counter[str],
    limit: int | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Iterator[tuple[LabelledCrop, StagedReading]]:
    """The usable crops among the first ``limit`` samples of a set, and their readings. Counts the others in
    ``skipped``, by reason, and calls ``advance`` after each.

    Raises:
        ValueError, OSError: the engine cannot go on.
    """
    ours, theirs = tee(_usable(labelled, len(labelled) if limit is None else limit, skipped, advance))
    for crop, result in zip(ours, reader.read(theirs), strict=True):
        if isinstance(result, Refusal):
            skipped[f"refused by the service: {result.reason}"] += 1
        else:
            yield crop, result
        advance()


def _usable(
    labelled: LabelledSet, limit: int, skipped: Counter[str], advance: Callable[[], object]
) -> Iterator[LabelledCrop]:
    for number in range(min(limit, len(labelled))):
        try:
            encoded, label = labelled.encoded(number)
            crop = LabelledCrop(number, label, encoded, decode_crop(encoded))
        except UnusableSample as error:
            skipped[error.reason] += 1
            advance()
        else:
            yield crop


def _count(score: SetScore, crop: LabelledCrop, reading: StagedReading) -> None:
    right = [reads(stage.text, crop.label) for stage in reading.stages]
    score.right += right
    score.crops += 1
    score.outcomes.append(Judgement(reading.confidence, right[-1]))
    if not right[-1]:
        score.mistakes.append(Mistake(score.path, crop.number, crop.label, reading))
