"""How wide and high an image will be once it is decoded: OpenCV applies the EXIF orientation."""

from __future__ import annotations

import struct

from service.image_files.look import look

_ORIENTATION = 0x0112
_ON_ITS_SIDE = range(5, 9)
_EXIF = b"Exif\0\0"
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_MOST_ENTRIES = 256


def upright_size(body: bytes) -> tuple[int, int]:
    """Width and height in pixels that an image file's first image has when it is decoded.

    Raises NotAnImage, BrokenImage (see look).
    """
    width, height, content = look(body)
    return (height, width) if _is_on_its_side(content) else (width, height)


def _is_on_its_side(body: bytes) -> bool:
    """Not so a WebP, whose EXIF OpenCV does not read, nor what is broken."""
    try:
        return _orientation(_exif(body)) in _ON_ITS_SIDE
    except (struct.error, IndexError, KeyError):
        return False


def _exif(body: bytes) -> bytes:
    """What begins as a TIFF does: such a file, or what a JPEG or PNG holds; empty without any."""
    if body[:2] in _BYTE_ORDERS:
        return body
    if body[:2] == b"\xff\xd8":
        return _of_jpeg(body) if _EXIF in body else b""
    if body[:4] == b"\x89PNG":
        return _of_png(body) if b"eXIf" in body else b""
    return b""


def _of_jpeg(body: bytes) -> bytes:
    position = 2
    while body[position] == 0xFF and body[position + 1] != 0xDA:  # from there on come pixels
        if body[position + 1] == 0xFF:  # padding before a marker
            position += 1
            continue
        (length,) = struct.unpack_from(">H", body, position + 2)
        segment = body[position + 4 : position + 2 + length]
        if body[position + 1] == 0xE1 and segment.startswith(_EXIF):
            return segment[len(_EXIF) :]
        position += 2 + length
    return b""


def _of_png(body: bytes) -> bytes:
    position = 8
    while True:
        length, kind = struct.unpack_from(">I4s", body, position)
        if kind == b"IDAT":  # from there on come pixels
            return b""
        if kind == b"eXIf":
            return body[position + 8 : position + 8 + length]
        position += 12 + length


def _orientation(exif: bytes) -> int:
    if not exif:
        return 0
    order = _BYTE_ORDERS[exif[:2]]
    (directory,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, directory)
    for entry in range(directory + 2, directory + 2 + 12 * min(count, _MOST_ENTRIES), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", exif, entry)
        if tag == _ORIENTATION:
            return int(value)
    return 0
