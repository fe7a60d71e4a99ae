"""Shared by the readers of all formats: faults, sizes, and bytes read with a check that they are there."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple


class NotAnImage(ValueError):  # noqa: N818 (says what the bytes are)
    """Bytes of none of the known formats."""


class BrokenImage(ValueError):  # noqa: N818 (says what the image is)
    """An image file that is cut off, contradicts itself, or uses features that are not supported."""


class TooManyPixels(ValueError):  # noqa: N818 (says what the image has)
    """An image with more pixels than the caller allows."""


class Picture(NamedTuple):
    """The first image of a file: width and height in pixels, and the bytes that make it, for a decoder.

    A decoder makes an image of exactly this size from `content`. `orientation` is that of Exif, 1 to 8, which
    the caller applies. `has_alpha`: the decoded image may have a fourth channel. `is_premultiplied`: its
    colours have been multiplied by it already. `form` names a format that OpenCV does not decode; its decoded
    image is upright.
    """

    width: int
    height: int
    content: bytes
    orientation: int = 1
    has_alpha: bool = False
    is_premultiplied: bool = False
    form: str = ""


def unpack(layout: str, body: bytes, offset: int) -> tuple[Any, ...]:
    """Like struct.unpack_from. Raises BrokenImage if the body is too short."""
    try:
        return struct.unpack_from(layout, body, offset)
    except (struct.error, OverflowError):  # the latter if the offset is that of no file at all
        raise BrokenImage("it is cut off") from None


def cut(body: bytes, start: int, end: int) -> bytes:
    """body[start:end]. Raises BrokenImage if the body is too short."""
    if end > len(body):
        raise BrokenImage("it is cut off")
    return body if (start, end) == (0, len(body)) else body[start:end]


def check(holds: bool, fault: str) -> None:
    """Raises BrokenImage with this fault unless the condition holds."""
    if not holds:
        raise BrokenImage(fault)
