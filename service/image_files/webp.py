"""WebP (RFC 9649): a RIFF file with the bitstream of VP8 or VP8L."""

from __future__ import annotations

import struct

from service.image_files.exif import UPRIGHT, orientation_of
from service.image_files.structure import BrokenImage, Picture, check, unpack

_HEADER_BYTES = 12
_MOST_CHUNKS = 64
_BITSTREAMS = (b"VP8 ", b"VP8L")
_BEFORE_PIXELS = (b"ICCP", b"ANIM", b"ALPH", b"EXIF", b"XMP ")
_HAS_ALPHA, _ALPHA_IS_USED = 0x10, 0x10
"""Bits of the first byte of VP8X, and of the last of a VP8L header."""
_FRAME_BYTES = 16
"""Bytes of an animation's frame before its own chunks."""


def look_at_webp(body: bytes) -> Picture:
    """Keeps only the bitstream and its alpha: no profile, and only the first frame of an animation.

    That frame must fill the canvas. Raises BrokenImage.
    """
    riff, length = unpack("<4sI", body, 0)
    check(riff == b"RIFF", "it is no RIFF file")
    end = 8 + length
    check(length >= 4 and end <= len(body), "it is cut off")
    kind, start, stop = _chunk(body, _HEADER_BYTES, end)
    canvas, orientation, beside = None, UPRIGHT, b""
    if kind == b"VP8X":
        canvas = _canvas(body, start, stop)
        orientation = _orientation(body, stop, end)
        beside, kind, start, stop = _bitstream(body, stop, end)
        if kind == b"ANMF":
            check(stop - start > _FRAME_BYTES, "its frame is cut off")
            check(not any(body[start : start + 6]), "its first frame does not fill the canvas")
            beside, kind, start, stop = _bitstream(body, start + _FRAME_BYTES, stop)
    check(kind in _BITSTREAMS, f"chunk {kind!r} is not known here")
    width, height = (_vp8 if kind == b"VP8 " else _vp8l)(body, start, stop)
    check(canvas in (None, (width, height)), "its picture has not the size of its canvas")
    chunks = _written(kind, body[start:stop])
    if kind == b"VP8L":
        has_alpha = bool(body[start + 4] & _ALPHA_IS_USED)
    else:
        has_alpha = bool(beside)
        if beside:
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            extended = _written(b"VP8X", bytes([_HAS_ALPHA, 0, 0, 0]) + size)
            chunks = extended + _written(b"ALPH", beside) + chunks
    content = struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WEBP") + chunks
    return Picture(width, height, content, orientation, has_alpha)


def _written(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2)


def _chunk(body: bytes, position: int, end: int) -> tuple[bytes, int, int]:
    """The kind of the chunk at this place, and the start and end of its data, which must lie before `end`."""
    check(position + 8 <= end, "it has no pixels")
    kind, length = unpack("<4sI", body, position)
    check(position + 8 + length <= end, f"its chunk {kind!r} is longer than what is there")
    return kind, position + 8, position + 8 + length


def _bitstream(body: bytes, position: int, end: int) -> tuple[bytes, bytes, int, int]:
    """The alpha, if any, and the first chunk from here that makes an image, or an animation's frame."""
    alpha = b""
    for _ in range(_MOST_CHUNKS):
        kind, start, stop = _chunk(body, position + position % 2, end)
        if kind not in _BEFORE_PIXELS:
            return alpha, kind, start, stop
        if kind == b"ALPH":
            alpha = body[start:stop]
        position = stop
    raise BrokenImage(f"it has more than {_MOST_CHUNKS} chunks before its pixels")


def _orientation(body: bytes, position: int, end: int) -> int:
    """The orientation in the Exif data, which usually come last."""
    for _ in range(_MOST_CHUNKS):
        if position + position % 2 + 8 > end:
            break
        kind, start, stop = _chunk(body, position + position % 2, end)
        if kind == b"EXIF":
            return orientation_of(body[start:stop])
        position = stop
    return UPRIGHT


def _canvas(body: bytes, start: int, stop: int) -> tuple[int, int]:
    check(stop - start == 10, "its VP8X chunk has not 10 bytes")
    sizes = body[start + 4 : stop]
    return int.from_bytes(sizes[:3], "little") + 1, int.from_bytes(sizes[3:], "little") + 1


def _vp8(body: bytes, start: int, stop: int) -> tuple[int, int]:
    check(stop - start >= 10, "its pixels are cut off")
    check(not body[start] & 1 and body[start + 3 : start + 6] == b"\x9d\x01\x2a", "it has no key frame")
    width, height = unpack("<HH", body, start + 6)
    check(not (width | height) & 0xC000, "it is to be scaled")
    return width, height


def _vp8l(body: bytes, start: int, stop: int) -> tuple[int, int]:
    check(stop - start >= 5, "its pixels are cut off")
    signature, bits = unpack("<BI", body, start)
    check(signature == 0x2F and bits >> 29 == 0, "its lossless bitstream is not known here")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
