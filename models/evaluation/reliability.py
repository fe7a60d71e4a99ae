"""How far confidences can be trusted: reliability table, calibration error, what remains at a precision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 10
PRECISIONS = (0.95, 0.98, 0.99)


class Bin(NamedTuple):
    """Crops of like confidence: from the least to the greatest, their mean, and the share that is right."""

    crops: int
    least: float
    greatest: float
    confidence: float
    accuracy: float


class Kept(NamedTuple):
    """The largest share of the crops of which at least ``precision`` are right, if those below a confidence
    are left out, and that confidence: None where no such share is there."""

    precision: float
    share: float
    confidence: float | None


class Reliability(NamedTuple):
    """``error`` is the expected calibration error: the mean over the crops of how far their bin's mean
    confidence is from the share of it that is right. All bins have as many crops, one more or less."""

    error: float
    bins: list[Bin]
    kept: list[Kept]


def reliability(confidence: np.ndarray, right: np.ndarray) -> Reliability:
    """Of N readings: how sure they were, (N,), 0 to 1, and which are right, (N,) bool."""
    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    bins = [
        Bin(
            len(rows),
            float(confidence[rows[0]]),
            float(confidence[rows[-1]]),
            float(confidence[rows].mean()),
            float(right[rows].mean()),
        )
        for rows in np.array_split(np.arange(len(order)), BINS)
        if len(rows)
    ]
    error = sum(one.crops * abs(one.confidence - one.accuracy) for one in bins) / max(1, len(order))
    return Reliability(error, bins, [_kept(confidence, right, precision) for precision in PRECISIONS])


def _kept(confidence: np.ndarray, right: np.ndarray, precision: float) -> Kept:
    """Of readings in the order of their confidence."""
    count = len(confidence)
    # Readings of one confidence are kept or left out together.
    starts = np.flatnonzero(np.diff(confidence, prepend=-1.0) > 0)
    precise = np.cumsum(right[::-1])[::-1][starts] >= precision * (count - starts) - 1e-9
    if not precise.any():
        return Kept(precision, 0.0, None)
    start = int(starts[precise.argmax()])
    return Kept(precision, (count - start) / count, float(confidence[start]))
