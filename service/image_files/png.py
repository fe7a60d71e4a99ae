"""PNG (ISO/IEC 15948): chunks of length, kind, data and checksum."""

from __future__ import annotations

import struct
import zlib

from service.image_files.exif import UPRIGHT, orientation_of
from service.image_files.structure import BrokenImage, Picture, check, unpack

_SIGNATURE_BYTES = 8
_CHUNK_BYTES = 12
"""Bytes of a chunk without its data."""
_FEW_CHUNKS, _USUAL_BYTES = 64, 4096
"""If there are more chunks than these, they must have this average length: writers make IDAT of 8 KiB or
more.
"""
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Allowed bits a channel, by colour type."""
_GREY, _COLOUR, _PALETTE, _WITH_ALPHA = 0, 2, 3, (4, 6)
_TRANSPARENT = {_GREY: 2, _COLOUR: 6}
"""Length of the transparent grey or colour. No decoder here understands that of a grey image."""
_KEPT = (b"IHDR", b"PLTE", b"tRNS")
"""Chunks that a decoder needs before the pixels."""
_ONCE = (*_KEPT, b"eXIf")


def look_at_png(body: bytes) -> Picture:
    """Keeps only IHDR, PLTE, tRNS and the one run of IDAT: no animation, no text, no profile.

    Every chunk must lie within the body. Checksums are left to the decoder. Raises BrokenImage.
    """
    length, kind = unpack(">I4s", body, _SIGNATURE_BYTES)
    check(
        kind != b"CgBI",
        "it is of Apple's own kind (CgBI), made for apps; save it as PNG with an image editor",
    )
    check((length, kind) == (13, b"IHDR"), "it does not begin with a header of 13 bytes")
    width, height = _size(body)
    kept = [body[:_SIGNATURE_BYTES]]
    position, colour, has_pixels, orientation = _SIGNATURE_BYTES, body[25], False, UPRIGHT
    seen: set[bytes] = set()
    most = _FEW_CHUNKS + len(body) // _USUAL_BYTES
    for _ in range(most):
        length, kind = unpack(">I4s", body, position)
        end = position + _CHUNK_BYTES + length
        check(end <= len(body), f"its {_shown(kind)} chunk is longer than what is there")
        if kind == b"IDAT":
            check(colour != _PALETTE or b"PLTE" in seen, "it has no palette")
            kept.append(body[position:end])
            has_pixels = True
        elif has_pixels:
            break
        else:
            check(kind != b"IEND", "it has no pixels")
            check(kind.isalpha(), "a chunk has no name")
            check(kind not in seen or kind not in _ONCE, f"it has two {_shown(kind)} chunks")
            # The first letter is small if a reader may ignore the chunk.
            check(kind in _KEPT or bool(kind[0] & 0x20), f"its {_shown(kind)} chunk is not known")
            if kind == b"PLTE":
                check(0 < length <= 768 and length % 3 == 0 and colour in (2, 3, 6), "its palette is broken")
            if kind == b"tRNS":
                check(_fits(length, colour, b"PLTE" in seen), "its transparency is broken")
            if kind == b"eXIf":
                orientation = orientation_of(body[position + 8 : end - 4])
            if kind in _KEPT and (kind != b"tRNS" or colour != _GREY):
                kept.append(body[position:end])
            seen.add(kind)
        position = end
    else:
        raise BrokenImage(f"it has more than {most} chunks")
    has_alpha = colour in _WITH_ALPHA or (colour != _GREY and b"tRNS" in seen)
    return Picture(width, height, b"".join([*kept, _END]), orientation, has_alpha)


def _fits(length: int, colour: int, has_palette: bool) -> bool:
    """Whether transparency may have this length: for a palette's colours, or for one grey or colour."""
    return has_palette and 0 < length <= 256 if colour == _PALETTE else length == _TRANSPARENT.get(colour)


def _size(body: bytes) -> tuple[int, int]:
    width, height, depth, colour, compression, filtering, interlace = unpack(">IIBBBBB", body, 16)
    check(depth in _DEPTHS.get(colour, ()), f"colour type {colour} with {depth} bits is not known")
    check(compression == 0 and filtering == 0, "its compression or filter is not known")
    check(interlace in (0, 1), f"interlace method {interlace} is not known")
    return width, height


def _shown(kind: bytes) -> str:
    return kind.decode("ascii", "replace") if kind.isalpha() else repr(kind)
