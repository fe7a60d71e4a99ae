"""From the probability that the network gives a word to the probability that the word is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from service.bundle_format.calibration import Calibration
from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle


def calibration_of(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """The calibration of the bundle's manifest. A bundle without one is not calibrated: p stays as it is.

    Raises BundleError if its numbers cannot be used.
    """
    stated = bundle.calibration
    if stated is None:
        return lambda probability: probability
    try:
        return Calibration(float(stated["slope"]), float(stated["intercept"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{bundle.folder}: its calibration is not a slope above 0 and an intercept; "
            "export the bundle again"
        ) from error
