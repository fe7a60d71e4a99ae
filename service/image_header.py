"""What an image's first bytes promise: its format and size, before anything is decoded.

Only the formats known here reach the decoder: OpenCV has many more, old and little tested.
"""

from __future__ import annotations

import struct

from service.errors import Problem, ServiceError

Size = tuple[int, int]
"""Width and height in pixels."""

# Start-of-frame markers carry a JPEG's size: 0xC0 to 0xCF but for the tables (C4, C8, CC).
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


def image_size(body: bytes) -> Size:
    """Width and height that a PNG, JPEG, BMP, WebP or TIFF promises in its header.

    Raises ServiceError: NOT_AN_IMAGE for any other format, BROKEN_IMAGE for a header that is cut off.
    """
    for signature, offset, read in _FORMATS:
        if body[offset : offset + len(signature)] == signature:
            try:
                width, height = read(body)
            except (struct.error, IndexError, KeyError):
                raise ServiceError(Problem.BROKEN_IMAGE, "The image's header is cut off or broken.") from None
            if width <= 0 or height <= 0:
                raise ServiceError(Problem.BROKEN_IMAGE, "The image's header promises no pixels.")
            return width, height
    raise ServiceError(Problem.NOT_AN_IMAGE, "The body must be a PNG, JPEG, BMP, WebP or TIFF image.")


def _png(body: bytes) -> Size:
    width, height = struct.unpack_from(">II", body, 16)
    return width, height


def _jpeg(body: bytes) -> Size:
    position = 2
    while True:
        if body[position] != 0xFF:
            raise IndexError
        marker = body[position + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", body, position + 5)
            return width, height
        if marker == 0xFF:  # padding before a marker
            position += 1
        else:
            (length,) = struct.unpack_from(">H", body, position + 2)
            position += 2 + length


def _bmp(body: bytes) -> Size:
    (header_bytes,) = struct.unpack_from("<I", body, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", body, 18)
    return width, abs(height)  # a negative height says that the rows go from top to bottom


def _webp(body: bytes) -> Size:
    kind = body[12:16]
    if kind == b"VP8X":
        return int.from_bytes(body[24:27], "little") + 1, int.from_bytes(body[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", body, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(body: bytes) -> Size:
    order = "<" if body[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", body, 4)
    (count,) = struct.unpack_from(order + "H", body, directory)
    values = {}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", body, entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (values[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), body, entry + 8)
    return values[_TIFF_WIDTH], values[_TIFF_HEIGHT]


_FORMATS = (
    (b"\x89PNG\r\n\x1a\n", 0, _png),
    (b"\xff\xd8\xff", 0, _jpeg),
    (b"BM", 0, _bmp),
    (b"WEBP", 8, _webp),
    (b"II*\0", 0, _tiff),
    (b"MM\0*", 0, _tiff),
)
