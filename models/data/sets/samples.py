"""What one labelled sample must be: an image that decodes and a label of 1 to 25 characters of [0-9a-z]."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import numpy.typing as npt

from models.charset import MAX_LENGTH, fold
from service import image_files

Image = npt.NDArray[Any]
Reason = Literal["no image", "broken image", "no label", "empty label", "too long label"]


_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class UnusableSample(ValueError):  # noqa: N818 (a sample to skip and count, seldom an error)
    """A sample to skip; ``reason`` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def fold_label(text: str) -> str:
    """The label of a sample's text: 1..25 characters of [0-9a-z], lower case, accents folded, everything else
    dropped.

    Raises: UnusableSample, "empty label" or "too long label".
    """
    label = fold(text)
    if not label:
        raise UnusableSample("empty label")
    if len(label) > MAX_LENGTH:
        raise UnusableSample("too long label")
    return label


def official_label(text: str) -> str:
    """The label that the official ABINet makes of a text: a letter with an accent is dropped, not folded.

    Raises: UnusableSample, "empty label" or "too long label".
    """
    return fold_label(_NOT_ASCII.sub("", text))


def mindocr_label(text: str) -> str:
    """MindOCR's label: like the official one, but a long label is cut, and an empty one counts, as a word
    that is always misread.
    """
    return fold(_NOT_ASCII.sub("", text))[:MAX_LENGTH]


#: The rules for labels by which accuracy can be measured.
LABELS_OF: dict[str, Callable[[str], str]] = {
    "abinet-ascend": fold_label,
    "official": official_label,
    "mindocr": mindocr_label,
}


def image_format(image: bytes) -> str:
    """PNG, JPEG, BMP, WebP or TIFF, by the first bytes of a file: what the service reads without extras.

    Raises: UnusableSample, "no image" without a byte, "broken image" for any other format.
    """
    if not image:
        raise UnusableSample("no image")
    try:
        name = image_files.format_of(image)
    except image_files.NotAnImage:
        raise UnusableSample("broken image") from None
    if name in image_files.DECODERS:
        raise UnusableSample("broken image")
    return name


def decode_crop(image: bytes) -> Image:
    """An image file's bytes -> (H, W, 3) uint8 RGB, as the service decodes them (see image_files.decode).

    Raises: UnusableSample, "no image" or "broken image".
    """
    if not image:
        raise UnusableSample("no image")
    try:
        return image_files.decode(image)
    except ValueError:
        raise UnusableSample("broken image") from None
