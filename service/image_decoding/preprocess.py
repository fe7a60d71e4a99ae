"""From an image file's bytes to the network's input, as the bundle's manifest prescribes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from service import image_files
from service.bundle_format.manifest import BundleError
from service.bundle_format.preprocessing import Preprocessing
from service.engines.bundle import Bundle
from service.errors import ProblemType, ServiceError
from service.image_decoding.formats import pixels_of


def decode_image(body: bytes, max_pixels: int) -> np.ndarray:
    """An image file's bytes -> RGB crop (height, width, 3), uint8 (see image_files.decode).

    Raises ServiceError, and before decoding if the header promises more than `max_pixels`.
    """
    with faults_of_images():
        return pixels_of(image_files.look_within(body, max_pixels))


@contextlib.contextmanager
def faults_of_images() -> Iterator[None]:
    """Turns errors of an image file into a ServiceError."""
    try:
        yield
    except image_files.NotAnImage as error:
        raise ServiceError(ProblemType.NOT_AN_IMAGE, str(error)) from None
    except image_files.TooManyPixels as error:
        raise ServiceError(ProblemType.TOO_MANY_PIXELS, str(error)) from None
    except image_files.BrokenImage as error:
        raise ServiceError(ProblemType.BROKEN_IMAGE, str(error)) from None


class Prescription(NamedTuple):
    """The manifest's statement of the network's input: its size in pixels, and how it is made."""

    folder: str
    width: int
    height: int
    preprocessing: dict[str, Any]


class Preprocessor:
    """Resizes and normalises crops for one bundle (see service.bundle_format.preprocessing).

    Raises BundleError if the manifest asks for something unknown.
    """

    def __init__(self, bundle: Bundle | Prescription) -> None:
        self.prescription = Prescription(bundle.folder, bundle.width, bundle.height, bundle.preprocessing)
        self._size = (bundle.height, bundle.width)
        try:
            self._preprocess = Preprocessing.from_dict(bundle.preprocessing)
        except (TypeError, ValueError) as error:
            raise BundleError(
                f"{bundle.folder}: its pre-processing cannot be done: {error}; export the bundle again"
            ) from None

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """RGB crop (height, width, 3), uint8 -> network input (3, 32, 128), float32."""
        return self._preprocess(crop, self._size)
