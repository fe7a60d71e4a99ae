"""From an image file's bytes to the network's input, as the bundle's manifest prescribes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from service import image_files
from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.errors import Problem, ServiceError

_INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


def decode_image(body: bytes, max_pixels: int) -> np.ndarray:
    """PNG, JPEG, BMP, WebP or TIFF bytes -> RGB crop (height, width, 3), uint8 (see image_files.decode).

    Raises ServiceError, and before decoding if the header promises more than `max_pixels`.
    """
    with faults_of_images():
        return image_files.decode(body, max_pixels)


@contextlib.contextmanager
def faults_of_images() -> Iterator[None]:
    """What is wrong with an image file, as a ServiceError."""
    try:
        yield
    except image_files.NotAnImage as error:
        raise ServiceError(Problem.NOT_AN_IMAGE, str(error)) from None
    except image_files.TooManyPixels as error:
        raise ServiceError(Problem.TOO_MANY_PIXELS, str(error)) from None
    except image_files.BrokenImage as error:
        raise ServiceError(Problem.BROKEN_IMAGE, str(error)) from None


class Prescription(NamedTuple):
    """What a bundle's manifest says of the network's input: its size in pixels, and how it is made."""

    folder: str
    width: int
    height: int
    preprocessing: dict[str, Any]


class Preprocessor:
    """Resizes and normalises crops as one bundle wants them.

    Raises BundleError if the manifest names an interpolation that is not known here.
    """

    def __init__(self, bundle: Bundle | Prescription) -> None:
        options = bundle.preprocessing
        self.prescription = Prescription(bundle.folder, bundle.width, bundle.height, options)
        if options["interpolation"] not in _INTERPOLATIONS:
            raise BundleError(
                f"{bundle.folder}: unknown interpolation {options['interpolation']!r}; "
                f"known are {', '.join(_INTERPOLATIONS)}"
            )
        self._interpolation = _INTERPOLATIONS[options["interpolation"]]
        # Bundles of checkpoints that were trained without it do not say.
        self._shrink_by_area = options.get("shrink_by_area", False)
        self._size = (bundle.width, bundle.height)
        values = np.arange(256)[:, None] / 255.0
        if options["normalise"]:
            values = (values - options["mean"]) / options["std"]
        # Looking a value up costs a sixth of computing it.
        self._tables = list(np.broadcast_to(values, (256, 3)).T.astype(np.float32, order="C"))

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """RGB crop (height, width, 3), uint8 -> network input (3, 32, 128), float32."""
        height, width = crop.shape[:2]
        most_width, most_height = self._size
        if self._shrink_by_area and (height > most_height or width > most_width):
            fitting = min(width, most_width), min(height, most_height)
            crop = cv2.resize(crop, fitting, interpolation=cv2.INTER_AREA)
        resized = cv2.resize(crop, self._size, interpolation=self._interpolation)
        planes = np.empty((3, *resized.shape[:2]), np.float32)
        for values, table, plane in zip(cv2.split(resized), self._tables, planes, strict=True):
            cv2.LUT(values, table, dst=plane)
        return planes
