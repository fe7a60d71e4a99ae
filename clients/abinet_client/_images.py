"""From a caller's image to the bytes of an image file."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from abinet_client._exceptions import BadImage, UnreadableFile

if TYPE_CHECKING:
    import numpy
    import PIL.Image

Image = Union[
    str,
    "os.PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    BinaryIO,
    "numpy.ndarray[Any, Any]",
    "PIL.Image.Image",
]
"""A path; a binary file object, read from where it is;
the bytes of a PNG, JPEG, BMP, WebP or TIFF file; a NumPy array in OpenCV's order, (H, W) grey,
(H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16; or a Pillow image."""

_PNG_COLOUR = {1: 0, 3: 2, 4: 6}
_PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}
_FAST = 1


def file_bytes(image: Image) -> bytes:
    """The image as a file's bytes, which are not checked.

    Raises:
        BadImage: a file that cannot be read, an array or Pillow image that is no picture.
        TypeError: not an image at all.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        try:
            with open(image, "rb", buffering=0) as file:
                return file.read()
        except (OSError, ValueError) as error:
            raise UnreadableFile(
                f"{os.fspath(image)}: {getattr(error, 'strerror', None) or error}"
            ) from error
    # If the caller has such an object, its package has been imported.
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(image, numpy.ndarray):
        return _png(image)
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(image, pillow.Image):
        return _saved(image)
    if hasattr(image, "read"):
        return _read(image)
    raise TypeError(
        "an image is a path, bytes, a binary file, a NumPy array or a Pillow image, "
        f"and not {type(image).__name__}"
    )


def _read(file: Any) -> bytes:
    try:
        content = file.read()
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{getattr(file, 'name', 'the file')}: {error}") from error
    if not isinstance(content, bytes):
        raise TypeError("an image's file must be open in binary mode")
    return content


def _png(array: numpy.ndarray[Any, Any]) -> bytes:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype.name not in ("uint8", "uint16") or array.ndim != 3 or array.shape[2] not in _PNG_COLOUR:
        raise BadImage(
            f"An array of {array.dtype} {array.shape} is no picture: "
            "uint8 or uint16 of (height, width), with 3 channels (BGR) or 4 (BGRA)."
        )
    if not array.size:
        raise BadImage(f"An array of {array.shape} has no pixels.")
    height, width, channels = array.shape
    if channels > 1:
        array = array[:, :, [2, 1, 0, 3][:channels]]
    big_endian = array.astype(array.dtype.newbyteorder(">")).tobytes()
    row = len(big_endian) // height
    # A row begins with its filter; 0 is none.
    lines = b"".join(b"\0" + big_endian[start : start + row] for start in range(0, len(big_endian), row))
    head = struct.pack(">IIBBBBB", width, height, 8 * array.itemsize, _PNG_COLOUR[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, _FAST)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _saved(image: PIL.Image.Image) -> bytes:
    from PIL import ImageOps

    file = io.BytesIO()
    try:
        # Turned as the service would turn the file of the image.
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I":  # which Pillow 13 does not write as PNG any more
            upright = upright.convert("I;16")
        upright = upright if upright.mode in _PNG_MODES else upright.convert("RGB")
        upright.save(file, "PNG", compress_level=_FAST)
    except (OSError, ValueError, SyntaxError) as error:
        raise BadImage(f"Pillow cannot write this image as PNG: {error}") from error
    return file.getvalue()
