"""Which format a file has, and its first image."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Callable

from service.image_files.bmp import look_at_bmp
from service.image_files.gif import look_at_gif
from service.image_files.heif import look_at_avif, look_at_heic
from service.image_files.jpeg import look_at_jpeg
from service.image_files.png import look_at_png
from service.image_files.structure import BrokenImage, NotAnImage, Picture
from service.image_files.tiff import look_at_tiff
from service.image_files.webp import look_at_webp

FORMATS: dict[str, tuple[int, tuple[bytes, ...], Callable[[bytes], Picture]]] = {
    "PNG": (0, (b"\x89PNG\r\n\x1a\n",), look_at_png),
    "JPEG": (0, (b"\xff\xd8",), look_at_jpeg),
    "BMP": (0, (b"BM",), look_at_bmp),
    "WebP": (8, (b"WEBP",), look_at_webp),
    "TIFF": (0, (b"II*\0", b"MM\0*"), look_at_tiff),
    "GIF": (0, (b"GIF87a", b"GIF89a"), look_at_gif),
    "AVIF": (4, (b"ftypavif", b"ftypavis"), look_at_avif),
    "HEIC": (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), look_at_heic),
}
"""For each format: the place of its signature, the signature, and the function that reads on."""

DECODERS = {"GIF": "PIL.GifImagePlugin", "AVIF": "PIL._avif", "HEIC": "pillow_heif"}
"""The modules of the extra `formats` that decode what OpenCV does not."""

_AS_PNG = "save it as PNG or JPEG"
OTHERS: tuple[tuple[str, int, tuple[bytes, ...], str], ...] = (
    ("a BigTIFF image", 0, (b"II+\0", b"MM\0+"), "save it as TIFF of less than 4 GB (not BigTIFF) or as PNG"),
    ("a JPEG 2000 image", 0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), _AS_PNG),
    ("a JPEG XL image", 0, (b"\0\0\0\x0cJXL ", b"\xff\x0a"), _AS_PNG),
    ("an icon", 0, (b"\0\0\1\0", b"\0\0\2\0"), _AS_PNG),
    ("a Photoshop file", 0, (b"8BPS",), _AS_PNG),
    ("a PDF document", 0, (b"%PDF",), "save the page as PNG and cut the words out"),
    ("an SVG drawing", 0, (b"<svg", b"<?xml"), _AS_PNG),
)
"""Other formats that people send: name, place of the signature, signatures, remedy."""


def format_of(body: bytes) -> str:
    """A key of FORMATS, by the first bytes alone. Raises NotAnImage, also if its decoder is not installed."""
    for name, (offset, signatures, _) in FORMATS.items():
        if body.startswith(signatures, offset):
            if name in DECODERS and not is_installed(DECODERS[name]):
                raise NotAnImage(
                    f"The bytes are {'a' if name == 'GIF' else 'an'} {name} image: install the extra "
                    "`formats` to have it read (uv run --extra formats, or pip install "
                    "'abinet-ascend[formats]'), or save it as PNG."
                )
            return name
    for name, offset, signatures, remedy in OTHERS:
        if body.startswith(signatures, offset):
            raise NotAnImage(f"The bytes are {name}, which is not read here: {remedy}.")
    raise NotAnImage("The bytes must be a PNG, JPEG, BMP, WebP or TIFF image.")


@lru_cache(maxsize=None)
def is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it; only its package is imported."""
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def look(body: bytes) -> Picture:
    """The first image of a file of one of FORMATS, and nothing else of the file.

    Strict: a file that a decoder might understand differently is refused. Nothing is decoded, and the time is
    bounded: a few milliseconds for any 8 MiB.

    Raises NotAnImage for any other format, BrokenImage if a decoder should not see it.
    """
    name = format_of(body)
    try:
        picture = FORMATS[name][2](body)
        if picture.width <= 0 or picture.height <= 0:
            raise BrokenImage("its header promises no pixels")
    except BrokenImage as fault:
        raise BrokenImage(f"The {name} image cannot be decoded: {fault}.") from None
    return picture
