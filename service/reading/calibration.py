"""From the probability that the network gives a word to the probability that the word is right."""

from __future__ import annotations

import math

import numpy as np

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle

_LEAST = 1e-7
"""Beyond this a probability of float32 logits is rounding."""


class Calibration:
    """`sigmoid(slope * log(p / (1 - p)) + intercept)`, as the bundle's manifest states the two numbers.

    A bundle without them is not calibrated: p stays as it is. Raises BundleError where they are no such
    numbers.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._fitted: tuple[float, float] | None = None
        if bundle.calibration is not None:
            try:
                slope, intercept = (float(bundle.calibration[name]) for name in ("slope", "intercept"))
            except (KeyError, TypeError, ValueError) as error:
                raise _unusable(bundle) from error
            if not (math.isfinite(slope) and slope > 0 and math.isfinite(intercept)):
                raise _unusable(bundle)
            self._fitted = slope, intercept

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """What the network gives words, 0 to 1 -> the probabilities that they are right, 0 to 1."""
        if self._fitted is None:
            return probability
        slope, intercept = self._fitted
        certain = np.clip(probability, _LEAST, 1 - _LEAST)
        with np.errstate(over="ignore"):
            result: np.ndarray = 1 / (1 + np.exp(-(slope * np.log(certain / (1 - certain)) + intercept)))
        return result


def _unusable(bundle: Bundle) -> BundleError:
    return BundleError(
        f"{bundle.folder}: its calibration is not a slope above 0 and an intercept; export the bundle again"
    )
