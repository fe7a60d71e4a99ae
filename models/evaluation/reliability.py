"""How far confidences can be trusted: reliability table, calibration error, share to keep at a precision."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

BINS = 10
PRECISIONS = (0.95, 0.98, 0.99)


class Bin(NamedTuple):
    """Crops of similar confidence: the least and the greatest, their mean, and the share that is right."""

    crops: int
    least: float
    greatest: float
    confidence: float
    accuracy: float


class Kept(NamedTuple):
    """The largest share of the crops of which at least ``precision`` are right, if those below a confidence
    are left out, and that confidence: None if no such share is there."""

    precision: float
    share: float
    confidence: float | None


class Reliability(NamedTuple):
    """``error`` is the expected calibration error: the mean over the crops of how far their bin's mean
    confidence is from the share of it that is right. All bins have as many crops, one more or less.
    ``chance`` is the mean error that faultless confidences would show with this number of crops."""

    error: float
    chance: float
    bins: list[Bin]
    kept: list[Kept]


def reliability(confidence: np.ndarray, right: np.ndarray) -> Reliability:
    """The reliability of N readings: their confidences, (N,), 0 to 1, and which are right, (N,) bool."""
    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    parts = [rows for rows in np.array_split(np.arange(len(order)), BINS) if len(rows)]
    bins = [
        Bin(
            len(rows),
            float(confidence[rows[0]]),
            float(confidence[rows[-1]]),
            float(confidence[rows].mean()),
            float(right[rows].mean()),
        )
        for rows in parts
    ]
    crops, variance = max(1, len(order)), confidence * (1 - confidence)
    error = sum(one.crops * abs(one.confidence - one.accuracy) for one in bins) / crops
    # The mean absolute deviation of a normal distribution.
    chance = sum(math.sqrt(2 / math.pi * variance[rows].sum()) for rows in parts) / crops
    kept = [_kept(confidence, right, precision) for precision in PRECISIONS]
    return Reliability(error, chance, bins, kept)


def _kept(confidence: np.ndarray, right: np.ndarray, precision: float) -> Kept:
    """The share to keep, for readings in the order of their confidence."""
    count = len(confidence)
    # Readings of one confidence are kept or left out together.
    starts = np.flatnonzero(np.diff(confidence, prepend=-1.0) > 0)
    precise = np.cumsum(right[::-1])[::-1][starts] >= precision * (count - starts) - 1e-9
    if not precise.any():
        return Kept(precision, 0.0, None)
    start = int(starts[precise.argmax()])
    return Kept(precision, (count - start) / count, float(confidence[start]))
