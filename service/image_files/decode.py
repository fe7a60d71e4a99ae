"""From an image file's bytes to pixels: the only place where a decoder gets other people's files."""

from __future__ import annotations

from typing import Callable

import cv2
import numpy as np

from service.image_files.look import look
from service.image_files.silence import silence
from service.image_files.structure import BrokenImage, NotAnImage, Picture, TooManyPixels

MOST_PIXELS = 16_000_000
"""The default limit; a crop of a word has some thousands."""

_AS_IT_LIES = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_TOP_UNUSED = 1 << 14
_LIGHTNESS = (0.114, 0.587, 0.299)
"""Weights of blue, green and red (ITU-R BT.601)."""

_TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
"""OpenCV's rotation and mirroring for each Exif orientation."""


def decode(body: bytes, max_pixels: int = MOST_PIXELS) -> np.ndarray:
    """PNG, JPEG, BMP, WebP or TIFF bytes -> RGB image (height, width, 3), uint8.

    Grey and palette images become RGB, 16 bits become 8, transparent parts get a background (see
    `_on_a_ground`), and the orientation is applied. Of an animation or several pages the first image is
    decoded.

    Raises NotAnImage, BrokenImage, and TooManyPixels before decoding if there are more than `max_pixels`.
    """
    return pixels_of(look_within(body, max_pixels))


def look_within(body: bytes, max_pixels: int) -> Picture:
    """Like look, but also raises TooManyPixels."""
    picture = look(body)
    if picture.width * picture.height > max_pixels:
        raise TooManyPixels(f"{picture.width} x {picture.height} pixels; the limit is {max_pixels}.")
    return picture


def pixels_of(picture: Picture) -> np.ndarray:
    """A checked picture -> RGB image (height, width, 3), uint8. Raises BrokenImage, NotAnImage."""
    if picture.form:
        raise NotAnImage(f"{picture.form} images are read by the service alone: save it as PNG.")
    try:
        with silence():
            image = cv2.imdecode(
                np.frombuffer(picture.content, np.uint8),
                cv2.IMREAD_UNCHANGED if picture.has_alpha else _AS_IT_LIES,
            )
    except cv2.error:
        image = None
    return finished(image, picture)


def finished(image: np.ndarray | None, picture: Picture) -> np.ndarray:
    """A decoder's result (grey, BGR or BGRA, 8 or 16 bits) -> as pixels_of. Raises BrokenImage."""
    if image is None or image.shape[:2] != (picture.height, picture.width):
        raise BrokenImage("The image is cut off or broken.")
    if image.dtype == np.uint16:
        image = _in_eight_bits(image)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    elif image.shape[2] == 4:
        image = _on_a_ground(image, picture.is_premultiplied)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return _TURNED[picture.orientation](image)


def _in_eight_bits(image: np.ndarray) -> np.ndarray:
    """uint16 -> uint8; 10 to 14 bits in 16, as scanners and cameras write them, are stretched.

    With alpha they are not, because opaque pixels use all bits.
    """
    top = int(image.max())
    return cv2.convertScaleAbs(image, alpha=255 / (top if 0 < top < _TOP_UNUSED else 65535))


def _on_a_ground(image: np.ndarray, is_premultiplied: bool) -> np.ndarray:
    """BGRA -> BGR, on black if the opaque part is light, else on white, so that it stands out.

    An image without any opaque pixel keeps its colours, because there alpha means nothing.
    """
    alpha = image[:, :, 3]
    least, most, _, _ = cv2.minMaxLoc(alpha)
    colours = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    if least == 255 or most == 0:
        return colours
    cover = cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)
    if not is_premultiplied:
        cv2.multiply(colours, cover, dst=colours, scale=1 / 255)
    lightness = np.dot(cv2.mean(colours)[:3], _LIGHTNESS) / (cv2.mean(alpha)[0] / 255)
    if lightness <= 127.5:
        cv2.add(colours, cv2.bitwise_not(cover, dst=cover), dst=colours)
    return colours
