"""From an image file's bytes to pixels: the one place where a decoder sees what others made."""

from __future__ import annotations

import cv2
import numpy as np

from service.image_files.look import look
from service.image_files.silence import silence
from service.image_files.structure import BrokenImage, Picture, TooManyPixels

MOST_PIXELS = 16_000_000
"""Unless told otherwise: a crop of a word has some thousands."""


def decode(body: bytes, max_pixels: int = MOST_PIXELS) -> np.ndarray:
    """PNG, JPEG, BMP, WebP or TIFF bytes -> RGB image (height, width, 3), uint8.

    Grey and palette images become RGB, 16 bits become 8, alpha is dropped, EXIF rotation is applied; of an
    animation or several pages the first is decoded.

    Raises NotAnImage, BrokenImage, and TooManyPixels before decoding where there are more than `max_pixels`.
    """
    return pixels_of(look_within(body, max_pixels))


def look_within(body: bytes, max_pixels: int) -> Picture:
    """As look, but raises TooManyPixels as well."""
    picture = look(body)
    if picture.width * picture.height > max_pixels:
        raise TooManyPixels(f"{picture.width} x {picture.height} pixels; the limit is {max_pixels}.")
    return picture


def pixels_of(picture: Picture) -> np.ndarray:
    """What has been looked at -> RGB image (height, width, 3), uint8. Raises BrokenImage."""
    try:
        with silence():
            image = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None or sorted(image.shape[:2]) != sorted(picture[:2]):
        raise BrokenImage("The image is cut off or broken.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
