"""Which format a file has, and its first image."""

from __future__ import annotations

from typing import Callable

from service.image_files.bmp import look_at_bmp
from service.image_files.jpeg import look_at_jpeg
from service.image_files.png import look_at_png
from service.image_files.structure import BrokenImage, NotAnImage, Picture
from service.image_files.tiff import look_at_tiff
from service.image_files.webp import look_at_webp

FORMATS: dict[str, tuple[int, tuple[bytes, ...], Callable[[bytes], Picture]]] = {
    "PNG": (0, (b"\x89PNG\r\n\x1a\n",), look_at_png),
    "JPEG": (0, (b"\xff\xd8\xff",), look_at_jpeg),
    "BMP": (0, (b"BM",), look_at_bmp),
    "WebP": (8, (b"WEBP",), look_at_webp),
    "TIFF": (0, (b"II*\0", b"MM\0*"), look_at_tiff),
}
"""Of each format: where its signature stands, the signature, and who reads on."""


def format_of(body: bytes) -> str:
    """PNG, JPEG, BMP, WebP or TIFF, by the first bytes alone. Raises NotAnImage."""
    for name, (offset, signatures, _) in FORMATS.items():
        if body.startswith(signatures, offset):
            return name
    raise NotAnImage("The bytes must be a PNG, JPEG, BMP, WebP or TIFF image.")


def look(body: bytes) -> Picture:
    """The first image of a PNG, JPEG, BMP, WebP or TIFF file, and nothing else of the file.

    Strict: what a decoder might understand in another way is refused. Nothing is decoded, and the time is
    bounded: a few milliseconds for any 8 MiB.

    Raises NotAnImage for any other format, BrokenImage where a decoder should not see it.
    """
    name = format_of(body)
    try:
        picture = FORMATS[name][2](body)
        if picture.width <= 0 or picture.height <= 0:
            raise BrokenImage("its header promises no pixels")
    except BrokenImage as fault:
        raise BrokenImage(f"The {name} image cannot be decoded: {fault}.") from None
    return picture
