"""What a bundle's manifest states about how sure its network is: calibration, and when to stop early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from service.bundle_format.calibration import Calibration
from service.bundle_format.early_stop import EarlyStop
from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.settings.model import Settings

T = TypeVar("T")


def calibration_of(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """From the probability that the network gives a word to the probability that the word is right.

    A bundle without one is not calibrated: p stays as it is. Raises BundleError if its numbers are unusable.
    """
    if bundle.calibration is None:
        return lambda probability: probability
    fault = "its calibration is not a slope above 0 and an intercept"
    return _stated(Calibration, bundle.calibration, ("slope", "intercept"), f"{bundle.folder}: {fault}")


def early_stop_of(bundle: Bundle, settings: Settings) -> EarlyStop:
    """The settings' thresholds; where they have none, the bundle's, and else the defaults.

    Raises BundleError if the manifest's numbers cannot be used.
    """
    chosen = EarlyStop()
    if bundle.early_stop is not None:
        fault = "its thresholds of early stop are not two numbers above 0 and at most 1"
        chosen = _stated(EarlyStop, bundle.early_stop, ("vision", "settled"), f"{bundle.folder}: {fault}")
    return EarlyStop(settings.vision_threshold or chosen.vision, settings.settled_threshold or chosen.settled)


def _stated(kind: Callable[[float, float], T], values: Any, names: tuple[str, str], fault: str) -> T:
    """Of two numbers. Raises BundleError, which says the fault, if the manifest has no such numbers."""
    try:
        one, other = (float(values[name]) for name in names)
        return kind(one, other)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{fault}; export the bundle again") from error
