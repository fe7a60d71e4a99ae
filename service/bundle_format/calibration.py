"""From the probability that a network gives a word to the probability that the word is right, by two numbers
in a checkpoint's NAME.json and in its bundles' manifests.
"""

import math
from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

#: A probability of float32 logits closer to 0 or 1 than this is a rounding error.
_LEAST = 1e-7


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
        return sigmoid(self.slope * log_odds(probability) + self.intercept)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """The log-odds of probabilities, 0 to 1, as far as float32 logits are exact."""
    certain = np.clip(np.asarray(probability, np.float64), _LEAST, 1 - _LEAST)
    result: np.ndarray = np.log(certain / (1 - certain))
    return result


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    """The probabilities of log-odds."""
    with np.errstate(over="ignore"):
        result: np.ndarray = 1 / (1 + np.exp(-log_odds))
    return result
