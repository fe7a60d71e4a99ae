"""JPEG (ITU-T T.81): segments behind markers, and the coded pixels between them."""

from __future__ import annotations

import re

from service.image_files.exif import EXIF, UPRIGHT, orientation_of
from service.image_files.structure import BrokenImage, Picture, check, cut, unpack

_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
"""Start-of-frame markers that are accepted: Huffman-coded, not lossless, not hierarchical."""
_TABLES = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
"""Segments that may stand anywhere: Huffman and quantisation tables, restart interval, comment, any APPn."""
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_SEGMENTS = {*_FRAMES, *_TABLES, _SCAN}
_COMPONENTS = (1, 3, 4)
_MOST_SCANS = 32
"""libjpeg's script for a progressive JPEG of four components has 18; each costs a pass over the image."""
_MOST_STRAYS, _MOST_PLACES = 16, 4
_MOST_SEGMENTS = 512
"""A colour profile alone may have 255."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Within coded pixels 0xFF is followed by 0 or is a restart marker."""


def look_at_jpeg(body: bytes) -> Picture:
    """The file up to its end-of-image marker, which must be there; what follows belongs to no image or to
    another.

    One frame of 8 bits and at most 32 scans. Raises BrokenImage.
    """
    position, scans, places, orientation = 2, 0, 0, None
    size: tuple[int, int] | None = None
    for _ in range(_MOST_SEGMENTS):
        if body[position : position + 1] != b"\xff":
            places += 1
            check(places <= _MOST_PLACES, "something that is no segment lies between many")
            body = _without_strays(body, position)
        position, marker = _marker(body, position)
        if marker == _END:
            check(scans > 0, "it has no pixels")
            assert size is not None
            return Picture(*size, cut(body, 0, position), orientation or UPRIGHT)
        check(marker in _SEGMENTS, f"marker {marker:02X} is not known here")
        (length,) = unpack(">H", body, position)
        segment, position = position, position + length
        check(length >= 2 and position <= len(body), f"its segment {marker:02X} is longer than what is there")
        if marker == _APP1 and orientation is None and body.startswith(EXIF, segment + 2):
            orientation = orientation_of(body[segment + 2 : position])
        elif marker in _FRAMES:
            check(size is None, "it has two frames")
            size = _size(body, segment, length)
        elif marker == _SCAN:
            check(size is not None, "its pixels come before its size")
            scans += 1
            check(scans <= _MOST_SCANS, f"it has more than {_MOST_SCANS} scans")
            found = _NEXT_MARKER.search(body, position)
            check(found is not None, "it is cut off")
            assert found is not None
            position = found.start()
    raise BrokenImage(f"it has more than {_MOST_SEGMENTS} segments")


def _without_strays(body: bytes, position: int) -> bytes:
    """The bytes without the few strays before a marker that some programs skip, so that all read the same."""
    found = _NEXT_MARKER.search(body, position, position + _MOST_STRAYS + 2)
    return body if found is None else body[:position] + body[found.start() :]


def _marker(body: bytes, position: int) -> tuple[int, int]:
    """The marker at this place, after any fill bytes, and the place after the marker."""
    (first,) = unpack("B", body, position)
    check(first == 0xFF, "something that is no segment lies between two")
    start = position
    while position < len(body) and body[position] == 0xFF:
        position += 1
        check(position - start <= _MOST_SEGMENTS, "it is filled with 0xFF")
    (marker,) = unpack("B", body, position)
    return position + 1, marker


def _size(body: bytes, segment: int, length: int) -> tuple[int, int]:
    bits, height, width, components = unpack(">BHHB", body, segment + 2)
    check(bits == 8, f"{bits} bits a sample are not known here")
    check(components in _COMPONENTS and length == 8 + 3 * components, "its frame header is broken")
    return width, height
