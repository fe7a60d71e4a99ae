"""GIF (87a, 89a): a canvas, palettes, and frames of LZW-coded indices."""

from __future__ import annotations

from service.image_files.structure import BrokenImage, Picture, check, cut, unpack

_SCREEN_BYTES, _FRAME_BYTES = 13, 10
_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
"""The extension that says which index is transparent."""
_HAS_PALETTE = 0x80
_MOST_EXTENSIONS = 64
_FEW_BLOCKS, _USUAL_BYTES = 1024, 32
"""Blocks of data are 255 bytes long, except the last. Millions of tiny ones would only take time."""


def look_at_gif(body: bytes) -> Picture:
    """The canvas, and its first frame alone, which must lie within it. Raises BrokenImage."""
    width, height = unpack("<HH", body, 6)
    position = _SCREEN_BYTES + _palette_bytes(unpack("B", body, 10)[0])
    kept = [cut(body, 0, position)]
    for _ in range(_MOST_EXTENSIONS):
        (kind,) = unpack("B", body, position)
        if kind == _FRAME:
            break
        check(kind == _EXTENSION, "it has no pixels")
        end = _after_blocks(body, position + 2)
        if body[position + 1] == _CONTROL:
            kept[1:] = [cut(body, position, end)]
        position = end
    else:
        raise BrokenImage(f"it has more than {_MOST_EXTENSIONS} extensions before its pixels")
    left, top, *size, flags = unpack("<HHHHB", body, position + 1)
    check(left + size[0] <= width and top + size[1] <= height, "its first frame lies beyond its canvas")
    check(min(size) > 0, "its first frame has no pixels")
    pixels = position + _FRAME_BYTES + _palette_bytes(flags)
    (code_bits,) = unpack("B", body, pixels)
    check(1 <= code_bits <= 8, f"codes of {code_bits} bits are not known")
    kept += [cut(body, position, _after_blocks(body, pixels + 1)), bytes([_END])]
    return Picture(width, height, b"".join(kept), form="GIF")


def _palette_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & _HAS_PALETTE else 0


def _after_blocks(body: bytes, position: int) -> int:
    """The place after a row of blocks, which an empty one ends."""
    for _ in range(_FEW_BLOCKS + len(body) // _USUAL_BYTES):
        (length,) = unpack("B", body, position)
        position += 1 + length
        if not length:
            return position
    raise BrokenImage("its pixels are in too many blocks")
