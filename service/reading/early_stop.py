"""When a request for early stop leaves out refinements."""

from __future__ import annotations

from service.bundle_format.early_stop import EarlyStop
from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.settings.model import Settings


def early_stop_of(bundle: Bundle, settings: Settings) -> EarlyStop:
    """The settings' thresholds; where they have none, the bundle's, and else the defaults.

    Raises BundleError if the manifest's numbers cannot be used.
    """
    stated = bundle.early_stop
    try:
        chosen = (
            EarlyStop() if stated is None else EarlyStop(float(stated["vision"]), float(stated["settled"]))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{bundle.folder}: its thresholds of early stop are not two numbers above 0 and at most 1; "
            "export the bundle again"
        ) from error
    return EarlyStop(settings.vision_threshold or chosen.vision, settings.settled_threshold or chosen.settled)
