"""What one labelled sample must be: an image that decodes and a label of 1 to 25 characters of [0-9a-z]."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from models.data.words import MAX_LENGTH, label_of

Image = npt.NDArray[Any]
Reason = Literal["no image", "broken image", "no label", "empty label", "too long label"]

# The formats that the service reads: what an evaluation counts, a running service can read as well.
_SIGNATURES = (
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("BMP", 0, (b"BM",)),
    ("WebP", 8, (b"WEBP",)),
    ("TIFF", 0, (b"II*\0", b"MM\0*")),
)


class UnusableSample(ValueError):  # noqa: N818 (a sample to skip and count, seldom an error)
    """A sample to skip; ``reason`` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def fold_label(text: str) -> str:
    """The label of a sample's text: 1..25 characters of [0-9a-z], lower case, everything else dropped.

    Raises: UnusableSample, "empty label" or "too long label".
    """
    label = label_of(text)
    if not label:
        raise UnusableSample("empty label")
    if len(label) > MAX_LENGTH:
        raise UnusableSample("too long label")
    return label


def image_format(image: bytes) -> str:
    """PNG, JPEG, BMP, WebP or TIFF, by the first bytes of an image file.

    Raises: UnusableSample, "no image" without a byte, "broken image" for any other format.
    """
    if not image:
        raise UnusableSample("no image")
    for name, offset, signatures in _SIGNATURES:
        if image.startswith(signatures, offset):
            return name
    raise UnusableSample("broken image")


def decode_crop(image: bytes) -> Image:
    """An image file's bytes -> (H, W, 3) uint8 RGB, as the service decodes them.

    Grey and palette images become RGB, 16 bits become 8, alpha is dropped, EXIF rotation is applied.

    Raises: UnusableSample, "no image" or "broken image".
    """
    image_format(image)
    try:
        crop = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        crop = None
    if crop is None:
        raise UnusableSample("broken image")
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB, dst=crop)
