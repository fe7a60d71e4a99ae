"""The orientation that a camera notes beside a picture (Exif, tag 274; TIFF has the same)."""

from __future__ import annotations

import struct

UPRIGHT = 1
EXIF = b"Exif\0\0"
"""The bytes before it in a JPEG, and in some WebP files."""
_ORIENTATION = 0x0112
_ON_ITS_SIDE = range(5, 9)
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_MOST_ENTRIES = 256


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, in data that begins like a TIFF; 1 if the data are broken or have none."""
    if exif.startswith(EXIF):
        exif = exif[len(EXIF) :]
    try:
        order = _BYTE_ORDERS[exif[:2]]
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * min(count, _MOST_ENTRIES), 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == _ORIENTATION:
                return int(value) if 1 <= value <= 8 else UPRIGHT
    except (struct.error, KeyError):
        pass
    return UPRIGHT


def is_on_its_side(orientation: int) -> bool:
    """Whether width and height change places when the image is turned upright."""
    return orientation in _ON_ITS_SIDE
