"""From the probability that a network gives a word to the probability that the word is right.

A network is surer of its words than they deserve, or less sure. Two numbers, fitted on labelled crops that it
was not trained on, correct that (Platt 1999; Guo et al. 2017, section 4.1).
"""

import math
from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

#: Beyond this a probability of float32 logits is rounding.
_LEAST = 1e-7

_ROUNDS = 100


@dataclass(frozen=True)
class Calibration:
    """``sigmoid(slope * log(p / (1 - p)) + intercept)`` of a word's probability p: the product of the
    probabilities of its characters and of its stop. ``crops``: how many it was fitted on.

    It keeps the order of words, because the slope is above 0.
    """

    slope: float
    intercept: float
    crops: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and self.slope > 0 and math.isfinite(self.intercept)):
            raise ValueError(
                f"a calibration has a finite slope above 0 and a finite intercept, not {self.slope} and "
                f"{self.intercept}; fit it with abinet calibrate"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """From JSON values; unknown keys raise TypeError."""
        return cls(**values)

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Probabilities of words, 0 to 1 -> probabilities that they are right, 0 to 1."""
        return _sigmoid(self.slope * _log_odds(probability) + self.intercept)


def fit(probability: np.ndarray, right: np.ndarray) -> Calibration:
    """The calibration under which what happened is likeliest: probabilities of words, (N,), and whether each
    was read rightly, (N,) bool.

    Raises:
        ValueError: all words are right, or all wrong, or the likelier ones are not the right ones.
    """
    yes = int(right.sum())
    no = len(right) - yes
    if not yes or not no:
        raise ValueError(f"{yes} of {len(right)} crops are read rightly; a calibration needs both kinds")
    # Platt's targets: 0 and 1 themselves would make the slope infinite if one threshold parts both kinds.
    target = np.where(right, (yes + 1) / (yes + 2), 1 / (no + 2))
    inputs = np.stack([_log_odds(probability), np.ones(len(right))], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(_ROUNDS):  # Newton's method
        expected = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (expected - target)
        curvature = (inputs * (expected * (1 - expected))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        step, before = np.linalg.solve(curvature, gradient), _loss(inputs @ weights, target)
        while np.abs(step).max() > 1e-12 and _loss(inputs @ (weights - step), target) > before:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    slope, intercept = (round(float(weight), 4) for weight in weights)
    if slope <= 0:
        raise ValueError(
            f"the likelier words are not oftener right on these {len(right)} crops; calibrate on more of them"
        )
    return Calibration(slope, intercept, len(right))


def _log_odds(probability: np.ndarray) -> np.ndarray:
    certain = np.clip(np.asarray(probability, np.float64), _LEAST, 1 - _LEAST)
    result: np.ndarray = np.log(certain / (1 - certain))
    return result


def _sigmoid(log_odds: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        result: np.ndarray = 1 / (1 + np.exp(-log_odds))
    return result


def _loss(log_odds: np.ndarray, target: np.ndarray) -> float:
    """The negative log-likelihood."""
    return float((np.logaddexp(0, log_odds) - target * log_odds).sum())
