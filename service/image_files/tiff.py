"""TIFF 6.0: a directory of tags, and strips of pixels anywhere in the file."""

from __future__ import annotations

import struct
from typing import Dict, Tuple

from service.image_files.structure import Picture, check, cut, unpack

Tags = Dict[int, Tuple[int, ...]]

_SHORT, _LONG = 3, 4
_LAYOUTS = {_SHORT: "H", _LONG: "I"}
_MOST_TAGS, _MOST_STRIPS = 256, 16384

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _COUNTS = 266, 273, 274, 277, 278, 279
_PLANAR, _FAX3_OPTIONS, _FAX4_OPTIONS, _PREDICTOR, _COLOURS, _EXTRA, _SIGN = 284, 292, 293, 317, 320, 338, 339
_WIDE = (_WIDTH, _HEIGHT, _OFFSETS, _ROWS, _COUNTS, _FAX3_OPTIONS, _FAX4_OPTIONS)
"""Tags whose values are written as LONG; all others are SHORT."""
_TILES = (322, 323, 324, 325)
_KNOWN = {
    *(
        _WIDTH,
        _HEIGHT,
        _BITS,
        _COMPRESSION,
        _PHOTOMETRIC,
        _FILL_ORDER,
        _OFFSETS,
        _ORIENTATION,
        _SAMPLES,
        _ROWS,
    ),
    *(_COUNTS, _PLANAR, _FAX3_OPTIONS, _FAX4_OPTIONS, _PREDICTOR, _COLOURS, _EXTRA, _SIGN, *_TILES),
}

_NONE, _FAX, _LZW, _DEFLATE, _PACK_BITS = 1, (2, 3, 4), 5, (8, 32946), 32773
_COMPRESSIONS = (_NONE, *_FAX, _LZW, *_DEFLATE, _PACK_BITS)
_UNREAD = {6: "JPEG (old)", 7: "JPEG", 34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP"}
_ASSOCIATED = 1
"""The code of an alpha by which the colours have been multiplied."""
_WHITE_IS_0, _BLACK_IS_0, _RGB, _PALETTE = 0, 1, 2, 3
_SHAPES = {
    _WHITE_IS_0: ((1, 2), (1, 2, 4, 8, 16)),
    _BLACK_IS_0: ((1, 2), (1, 2, 4, 8, 16)),
    _RGB: ((3, 4), (8, 16)),
    _PALETTE: ((1,), (1, 2, 4, 8)),
}
"""Samples a pixel and bits a sample, by photometric interpretation."""


def look_at_tiff(body: bytes) -> Picture:
    """Writes the first directory again, with the tags of its picture and the strips that it names.

    Grey, RGB or palette, whole samples side by side, in strips, no JPEG within TIFF. A tag that stands twice,
    or is of another type than SHORT or LONG, is refused. Raises BrokenImage.
    """
    order = "<" if body.startswith(b"II") else ">"
    tags = _tags(body, order)
    check(
        not any(tag in tags for tag in _TILES),
        "it is made of tiles, not read here; save it in strips or as PNG",
    )
    width, height = _one(tags, _WIDTH), _one(tags, _HEIGHT)
    check(width > 0 and height > 0, "its header promises no pixels")
    _check_samples(tags)
    rows = min(_one(tags, _ROWS, height), height)
    check(rows > 0, "its strips have no rows")
    strips = _strips(body, tags, -(-height // rows))
    tags[_ROWS] = (rows,)
    (orientation,) = tags.pop(_ORIENTATION, (1,))
    # libtiff multiplies 8 bits by their alpha; 16 bits come as they are stored.
    has_alpha = _one(tags, _SAMPLES, 1) == 4
    is_premultiplied = tags[_BITS][0] == 8 or tags.get(_EXTRA) == (_ASSOCIATED,) if has_alpha else False
    return Picture(width, height, _written(order, tags, strips), orientation, has_alpha, is_premultiplied)


def _tags(body: bytes, order: str) -> Tags:
    """The known tags of the first directory."""
    (directory,) = unpack(order + "I", body, 4)
    (entries,) = unpack(order + "H", body, directory)
    check(entries <= _MOST_TAGS, f"it has more than {_MOST_TAGS} tags")
    tags: Tags = {}
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count = unpack(order + "HHI", body, entry)
        if tag not in _KNOWN:
            continue
        check(tag not in tags, f"it has tag {tag} twice")
        check(
            kind in _LAYOUTS and 0 < count <= _MOST_STRIPS,
            f"its tag {tag} is of a type or count not known here",
        )
        layout = f"{order}{count}{_LAYOUTS[kind]}"
        offset = entry + 8
        if struct.calcsize(layout) > 4:
            (offset,) = unpack(order + "I", body, offset)
        tags[tag] = unpack(layout, body, offset)
        check(tag in _WIDE or max(tags[tag]) <= 0xFFFF, f"its tag {tag} has a value not known here")
    return tags


def _one(tags: Tags, tag: int, default: int | None = None) -> int:
    values = tags.get(tag, () if default is None else (default,))
    check(len(values) == 1, f"it has no single value of tag {tag}")
    return values[0]


def _check_samples(tags: Tags) -> None:
    samples, compression = _one(tags, _SAMPLES, 1), _one(tags, _COMPRESSION, _NONE)
    bits = tags.get(_BITS, (1,))
    wanted = _SHAPES.get(_one(tags, _PHOTOMETRIC))
    name = _UNREAD.get(compression, str(compression))
    check(compression in _COMPRESSIONS, f"compression {name} is not read here; save it with LZW or as PNG")
    check(
        set(tags.get(_SIGN, (1,))) == {1},
        "its samples are signed or floating-point numbers; save it with 8 or 16 bits a sample",
    )
    check(wanted is not None, "it is neither grey nor RGB nor of a palette")
    assert wanted is not None
    check(
        samples in wanted[0] and len(bits) == samples and len(set(bits)) == 1,
        "its samples are not known here",
    )
    check(bits[0] in wanted[1], f"{bits[0]} bits a sample are not known here")
    check(compression not in _FAX or bits == (1,), "a fax has one bit a pixel")
    check(_one(tags, _FILL_ORDER, 1) in (1, 2), "its order of bits is not known")
    check(1 <= _one(tags, _ORIENTATION, 1) <= 8, "its orientation is not known")
    check(_one(tags, _PLANAR, 1) == 1, "its samples lie in planes")
    check(_one(tags, _PREDICTOR, 1) in (1, 2), "its predictor is not known here")
    check(_one(tags, _PREDICTOR, 1) == 1 or bits[0] in (8, 16), "its predictor does not fit its samples")
    check(
        samples != 2 or tags.get(_EXTRA, (0,)) == (0,), "it is grey with alpha, not read here; save it as PNG"
    )
    check(len(tags.get(_EXTRA, ())) < samples, "all of its samples are extra ones")
    is_palette = wanted is _SHAPES[_PALETTE]
    check(len(tags.get(_COLOURS, ())) == (3 << bits[0] if is_palette else 0), "its palette is broken")


def _strips(body: bytes, tags: Tags, count: int) -> list[bytes]:
    offsets, counts = tags.get(_OFFSETS, ()), tags.get(_COUNTS, ())
    check(len(offsets) == len(counts) == count, f"its {count} strips have not as many offsets and lengths")
    check(sum(counts) <= len(body), "its strips are longer than what is there")
    return [cut(body, offset, offset + length) for offset, length in zip(offsets, counts)]


def _written(order: str, tags: Tags, strips: list[bytes]) -> bytes:
    """A file with one directory, the longer values, and the strips."""
    tags = {tag: values for tag, values in sorted(tags.items())}
    values_at = 8 + 2 + 12 * len(tags) + 4
    layouts = {tag: f"{order}{len(values)}{'I' if tag in _WIDE else 'H'}" for tag, values in tags.items()}
    sizes = {tag: struct.calcsize(layout) for tag, layout in layouts.items()}
    strip_at = values_at + sum(size for size in sizes.values() if size > 4)
    offsets = []
    for strip in strips:
        offsets.append(strip_at)
        strip_at += len(strip)
    tags[_OFFSETS] = tuple(offsets)
    entries, longer = [], []
    for tag, values in tags.items():
        data = struct.pack(layouts[tag], *values)
        if len(data) > 4:
            longer.append(data)
            data, values_at = struct.pack(order + "I", values_at), values_at + len(data)
        kind = _LONG if tag in _WIDE else _SHORT
        entries.append(struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0"))
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(order + "HIH", 42, 8, len(tags))
    return b"".join([mark, head, *entries, bytes(4), *longer, *strips])
