"""The counts of a validation: crops read correctly, or misread words that the language model corrects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from models.evaluation.scoring import is_right
from models.training.backends import Backend
from models.training.batches import Batch
from models.training.data import ValidationBatch

Counts = dict[str, Counter[str]]


def corrections(backend: Backend, words: Iterable[tuple[str, Batch]]) -> Counts:
    """For each kind of words, how many misread words the language model corrects."""
    sets: Counts = {}
    for name, batch in words:
        broken = ~is_right(batch.inputs, batch.labels)
        right = is_right(backend.spell(batch.inputs, batch.lengths), batch.labels)
        corrected = int((broken & right).sum())
        sets.setdefault(name, Counter()).update(count=int(broken.sum()), corrected=corrected)
    return sets


def accuracy(backend: Backend, batches: Iterable[ValidationBatch], size: int) -> Counts:
    """For each validation set, how many crops vision and the last fused reading read without a mistake, in
    batches of ``size``.
    """
    sets: Counts = {}
    for name, images, labels in batches:
        filled = np.concatenate([images, np.repeat(images[:1], size - len(images), axis=0)])
        outputs = backend.read(filled)
        vision, fused = (is_right(outputs[index][: len(images)], labels).sum() for index in (0, -1))
        sets.setdefault(name, Counter()).update(count=len(images), vision=int(vision), fused=int(fused))
    return sets


def joined(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> Counts:
    """The counts of all processes together. A sum of Counters would lose zeros."""
    sets: Counts = {}
    for part in parts:
        for name, counts in part.items():
            sets.setdefault(name, Counter()).update(counts)
    return sets


def total(sets: Counts) -> Counter[str]:
    """The counts of all sets together."""
    counts: Counter[str] = Counter()
    for count in sets.values():
        counts.update(count)
    return counts


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """The shares, 0 to 1, of correct readings among all; 0 if nothing was read."""
    read = max(1, counts["count"])
    return {name: round(value / read, 4) for name, value in counts.items() if name != "count"}
