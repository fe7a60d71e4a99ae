"""Thresholds of early stop, chosen on labelled crops by what they may cost."""

from typing import NamedTuple

import numpy as np

from service.bundle_format.early_stop import EarlyStop

__all__ = ["EarlyStop", "StopOutcome", "choose", "outcome"]

#: Thresholds to try, from the smallest to one that float32 probabilities reach for almost no crop.
_STEPS = np.concatenate(
    [np.arange(0.3, 0.9, 0.05), np.arange(0.9, 0.99, 0.01), np.arange(0.99, 1.0, 0.001)]
).round(4)


class Stages(NamedTuple):
    """The readings of N crops by vision and by K refinements, S = 1 + K.

    ``right`` (N, S) bool; ``same`` (N, S) bool, whether the text is that of the stage before, False for
    vision; ``weakest`` (N, S), the probability of the least sure character or stop.
    """

    right: np.ndarray
    same: np.ndarray
    weakest: np.ndarray


class StopOutcome(NamedTuple):
    """``loss``: points of word accuracy, below 0 for a gain; ``saved``: the share of refinements left out."""

    loss: float
    saved: float


def outcome(stages: Stages, vision: float, settled: float) -> StopOutcome:
    """The loss and the saving of thresholds on these crops."""
    stops = stages.same & (stages.weakest >= settled)
    stops[:, 0] = stages.weakest[:, 0] >= vision
    stops[:, -1] = True
    end = stops.argmax(axis=1)
    right = np.take_along_axis(stages.right, end[:, None], axis=1)
    most = stages.right.shape[1] - 1
    return StopOutcome(100 * float(stages.right[:, -1].mean() - right.mean()), 1 - float(end.mean()) / most)


def choose(stages: Stages, loss: float) -> EarlyStop:
    """The thresholds that save most and lose at most `loss` points of word accuracy; among equals the surest.

    Raises:
        ValueError: there are no refinements that could be left out.
    """
    if stages.right.shape[1] < 2:
        raise ValueError("a network without refinements has nothing for early stop to leave out")
    best, thresholds = -1.0, (1.0, 1.0)
    for vision in _STEPS[::-1]:
        for settled in _STEPS[::-1]:
            tried = outcome(stages, vision, settled)
            if tried.loss <= loss and tried.saved > best:
                best, thresholds = tried.saved, (float(vision), float(settled))
    return EarlyStop(*thresholds, loss, len(stages.right))
