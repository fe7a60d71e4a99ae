"""BMP: a file header, a bitmap header of one of its versions, a palette, rows of pixels."""

from __future__ import annotations

import struct

from service.image_files.structure import Picture, check, cut, unpack

_FILE_BYTES = 14
_CORE_BYTES = 12
_HEADERS = (_CORE_BYTES, 40, 52, 56, 108, 124)
_UNCOMPRESSED, _BIT_FIELDS = 0, 3
_MASKS_BYTES = 12
_V4_BYTES = 108
_ALPHA_HEADER, _ALPHA_AT = 56, 66
"""From which header on there is a mask of alpha, and where it stands."""
_FIELDS = {16: _BIT_FIELDS, 32: _BIT_FIELDS}


def look_at_bmp(body: bytes) -> Picture:
    """Headers, palette and pixels, which must all be there. Uncompressed only. Raises BrokenImage."""
    (pixels,) = unpack("<I", body, 10)
    (header,) = unpack("<I", body, _FILE_BYTES)
    check(header in _HEADERS, f"a bitmap header of {header} bytes is not known")
    masks = compression = colours = 0
    if header == _CORE_BYTES:
        width, height, planes, bits = unpack("<HHHH", body, _FILE_BYTES + 4)
    else:
        width, height, planes, bits, compression = unpack("<iiHHI", body, _FILE_BYTES + 4)
        (colours,) = unpack("<I", body, _FILE_BYTES + 32)
        masks = _MASKS_BYTES if compression == _BIT_FIELDS and header == 40 else 0
    check(planes == 1 and bits in (1, 4, 8, 16, 24, 32), f"{bits} bits a pixel are not known")
    check(compression in (_UNCOMPRESSED, _FIELDS.get(bits)), "its compression is not known here")
    check(width > 0, "its header promises no pixels")
    palette = _palette_bytes(bits, colours, header)
    check(_FILE_BYTES + header + masks + palette <= pixels, "its pixels begin within its headers")
    height = abs(height)  # a negative height says that the rows go from top to bottom
    end = pixels + (width * bits + 31) // 32 * 4 * height
    content = cut(body, 0, end)
    if bits == 32 and compression == _UNCOMPRESSED:
        content = _with_alpha(content, pixels)
        return Picture(width, height, content, has_alpha=True)
    has_mask = compression == _BIT_FIELDS and header >= _ALPHA_HEADER
    (alpha,) = unpack("<I", body, _ALPHA_AT) if has_mask else (0,)
    return Picture(width, height, content, has_alpha=alpha != 0)


def _with_alpha(content: bytes, pixels: int) -> bytes:
    """The same with a header that names the fourth byte of a pixel, in which many writers put alpha."""
    header = struct.pack("<I", _V4_BYTES) + content[_FILE_BYTES + 4 : _FILE_BYTES + 16]
    header += struct.pack("<I", _BIT_FIELDS) + bytes(20)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = header.ljust(_V4_BYTES, b"\0")
    data = content[pixels:]
    start = _FILE_BYTES + _V4_BYTES
    return struct.pack("<2sIII", b"BM", start + len(data), 0, start) + header + data


def _palette_bytes(bits: int, colours: int, header: int) -> int:
    if bits > 8:
        return 0
    check(colours <= 1 << bits, f"its palette has {colours} colours")
    return (colours or 1 << bits) * (3 if header == _CORE_BYTES else 4)
