"""AVIF and HEIC (ISO/IEC 23008-12): boxes that name items, their properties and their places."""

from __future__ import annotations

from typing import Iterator, NamedTuple

from service.image_files.structure import BrokenImage, Picture, check, unpack

_MOST_BOXES, _MOST_ITEMS = 64, 1024
_READ = (b"ftyp", b"meta", b"mdat")
"""Boxes that a decoder sees. Others, which hold films, become free space."""
_OF_STILLS = {b"avis": b"avif", b"hevc": b"heic", b"hevx": b"heix", b"msf1": b"mif1"}
"""The brand of a still for each brand of a film."""
_SLACK_PIXELS = 1 << 20
"""Tiles may have any size, and the last ones may exceed the picture by this many pixels."""
_GRID = b"grid"


class _Box(NamedTuple):
    kind: bytes
    named: int
    """The place of its kind."""
    start: int
    """The place of its content."""
    end: int


def look_at_avif(body: bytes) -> Picture:
    """The primary item, of AV1. Raises BrokenImage (see _look)."""
    return _look(body, "AVIF", b"av01")


def look_at_heic(body: bytes) -> Picture:
    """The primary item, of HEVC. Raises BrokenImage (see _look)."""
    return _look(body, "HEIC", b"hvc1")


def _look(body: bytes, form: str, codec: bytes) -> Picture:
    """Width and height after the decoder has cut and turned the primary item, or the grid of its tiles.

    No item may have more than twice its pixels and 1 MiPixel, nor may all tiles together. The decoder checks
    the size that the coded pixels state, under limits on time and memory.
    """
    top = list(_boxes(body, 0, len(body)))
    content = bytearray(body[: top[-1].end])
    for box in top:
        if box.kind not in _READ:
            content[box.named : box.named + 4] = b"free"
        elif box.kind == b"ftyp":
            for brand in range(box.start, box.end - 3, 4):
                content[brand : brand + 4] = _OF_STILLS.get(body[brand : brand + 4], body[brand : brand + 4])
    inside = _once(body, [box for box in top if box.kind == b"meta"])
    primary = _number(body, inside[b"pitm"])
    properties = _once(body, [inside[b"iprp"]], skipped=0)
    known = list(_boxes(body, properties[b"ipco"].start, properties[b"ipco"].end, _MOST_ITEMS))
    of_item = _associations(body, properties[b"ipma"], known)
    kinds = _kinds(body, inside[b"iinf"])
    size, seen = _size(body, of_item.get(primary, []), may_be_cut=form == "HEIC")
    most = 2 * seen[0] * seen[1] + _SLACK_PIXELS
    sizes = [unpack(">II", body, box.start + 4) for box in known if box.kind == b"ispe"]
    check(all(width * height <= most for width, height in sizes), "an item is larger than its picture")
    if kinds.get(primary) == _GRID:
        tiles = _tiles(body, inside.get(b"iref"), primary)
        check({kinds.get(tile) for tile in tiles} == {codec}, "its tiles are of a kind not known here")
        areas = (width * height for tile in tiles for width, height in [_coded(body, of_item.get(tile, []))])
        check(sum(areas) <= most, "its tiles are larger than its picture")
    else:
        check(kinds.get(primary) == codec, f"its pixels are of kind {kinds.get(primary)!r}, not known here")
    return Picture(*size, bytes(content), form=form)


def _boxes(body: bytes, start: int, end: int, most: int = _MOST_BOXES) -> Iterator[_Box]:
    """The boxes, one after the other. The last one may state no length; then it reaches to the end."""
    for _ in range(most):
        if start == end:
            return
        length, kind = unpack(">I4s", body, start)
        inside = start + 8
        if length == 1:
            (length,) = unpack(">Q", body, inside)
            inside += 8
        stop = start + length if length else end
        check(inside <= stop <= end, f"its box {kind!r} is longer than what is there")
        yield _Box(kind, start + 4, inside, stop)
        start = stop
    check(start == end, f"it has more than {most} boxes")


def _once(body: bytes, outer: list[_Box], skipped: int = 4) -> dict[bytes, _Box]:
    """The boxes in the only box of this kind, by kind. Raises BrokenImage if there is none."""
    check(len(outer) == 1, "it has no description of its picture, or two")
    found = list(_boxes(body, outer[0].start + skipped, outer[0].end))
    kinds = {box.kind: box for box in found}
    check(len(kinds) == len(found), "a box stands twice")
    needed = (b"pitm", b"iinf", b"iprp", b"iloc") if skipped else (b"ipco", b"ipma")
    for kind in needed:
        check(kind in kinds, f"it has no box {kind!r}")
    return kinds


def _number(body: bytes, box: _Box) -> int:
    """The number in a box that holds only a number, of 16 bits, or 32 in its later version."""
    (number,) = unpack(">I" if body[box.start] else ">H", body, box.start + 4)
    return int(number)


def _kinds(body: bytes, box: _Box) -> dict[int, bytes]:
    """The kind of each item."""
    start = box.start + (8 if body[box.start] else 6)
    kinds = {}
    for entry in _boxes(body, start, box.end, _MOST_ITEMS):
        version = body[entry.start]
        check(entry.kind == b"infe" and version in (2, 3), "its list of items is not known here")
        number, _, kind = unpack(">HH4s" if version == 2 else ">IH4s", body, entry.start + 4)
        check(number not in kinds, "an item stands twice")
        kinds[number] = kind
    return kinds


def _associations(body: bytes, box: _Box, known: list[_Box]) -> dict[int, list[_Box]]:
    """The properties of each item, in order."""
    version, flags, count = unpack(">B3sI", body, box.start)
    check(count <= _MOST_ITEMS, f"it has more than {_MOST_ITEMS} items")
    is_wide = flags[2] & 1
    place, found = box.start + 8, {}
    for _ in range(count):
        number, entries = unpack(">IB" if version else ">HB", body, place)
        place += 5 if version else 3
        check(number not in found, "an item has properties twice")
        numbers = unpack(f">{entries}{'H' if is_wide else 'B'}", body, place)
        place += entries * (2 if is_wide else 1)
        places = [one & (0x7FFF if is_wide else 0x7F) for one in numbers]
        check(max(places, default=0) <= len(known), "a property lacks")
        found[number] = [known[one - 1] for one in places if one]
    return found


def _coded(body: bytes, properties: list[_Box]) -> tuple[int, int]:
    """Width and height of an item before it is cut and turned."""
    sizes = [unpack(">II", body, box.start + 4) for box in properties if box.kind == b"ispe"]
    if len(sizes) != 1:
        raise BrokenImage("an item has not one size")
    width, height = sizes[0]
    return width, height


def _size(body: bytes, properties: list[_Box], may_be_cut: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of the picture as it is seen, and the same before it is turned."""
    width, height = _coded(body, properties)
    is_turned = False
    for box in properties:
        if box.kind == b"clap":
            check(may_be_cut and not is_turned, "it is cut in a way that is not known here")
            across, unit, down, other_unit = unpack(">IIII", body, box.start)
            check(unit == other_unit == 1, "it is cut in the middle of a pixel")
            check(across <= width and down <= height, "it is cut beyond its edge")
            width, height = across, down
        elif box.kind == b"irot":
            is_turned ^= bool(unpack("B", body, box.start)[0] & 1)
    return ((height, width) if is_turned else (width, height)), (width, height)


def _tiles(body: bytes, box: _Box | None, primary: int) -> tuple[int, ...]:
    """The items that the primary one consists of."""
    if box is None:
        raise BrokenImage("it has no tiles")
    is_wide = body[box.start] != 0
    for reference in _boxes(body, box.start + 4, box.end, _MOST_ITEMS):
        start, count = unpack(">IH" if is_wide else ">HH", body, reference.start)
        if reference.kind == b"dimg" and start == primary:
            check(0 < count <= _MOST_ITEMS, f"it has no tiles, or more than {_MOST_ITEMS}")
            return unpack(f">{count}{'I' if is_wide else 'H'}", body, reference.start + (6 if is_wide else 4))
    raise BrokenImage("it has no tiles")
