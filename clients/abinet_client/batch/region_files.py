"""The outlines of texts in photos, from the files of detection sets and of detectors.

| form | LABELS | a line |
|---|---|---|
| ICDAR | a folder: `gt_img_1.txt`, `res_img_1.txt` or `img_1.txt` for `img_1.jpg` | `x1,y1,x2,y2,x3,y3,x4,y4,text`, or `left, top, right, bottom, "text"`; the text may be missing |
| PaddleOCR | a file | `photos/img_1.jpg<tab>[{"transcription": "text", "points": [[x, y], ...]}]` |
"""  # noqa: E501

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from abinet_client.batch.label_files import lines_of, root_of
from abinet_client.batch.labels import names_of
from abinet_client.batch.sources import Item

DONT_CARE = ("###", "*")
"""Transcriptions of texts that nobody can read; they are not read, and not counted."""
_PREFIXES = ("gt_", "res_", "")
_QUADRILATERAL = re.compile(r"\s*" + r"[,\s]\s*".join([r"(-?\d+(?:\.\d+)?)"] * 8) + r"\s*(?:[,\s](.*))?")
_BOX = re.compile(r"\s*" + r"[,\s]\s*".join([r"(-?\d+(?:\.\d+)?)"] * 4) + r"\s*(?:[,\s](.*))?")


class TextRegion(NamedTuple):
    """A text in a photo: its number there from 0, its outline, and what it says if that is known."""

    number: int
    points: Sequence[Sequence[float]]
    text: str | None


class RegionFiles:
    """The regions of photos, in a folder of ICDAR's files or a file of PaddleOCR's.

    Raises:
        ValueError: it is neither.
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._listed: dict[str, str] | None = None
        if os.path.isdir(path):
            return
        lines = [line.partition("\t") for line in lines_of(path) if line.strip()]
        if not lines or not all(tab and listed.lstrip().startswith("[") for _, tab, listed in lines):
            raise ValueError(
                f"{path}: neither a folder of ICDAR's gt_NAME.txt nor a file of PaddleOCR's lines, "
                'PATH<tab>[{"transcription": ..., "points": ...}]'
            )
        self._listed = {os.path.normpath(name): listed for name, _, listed in lines}
        self._root = root_of(path, list(self._listed))

    def of(self, item: Item) -> list[TextRegion]:
        """The regions of a photo that are legible. Raises ValueError if it has none, or they are broken."""
        regions = self._icdar(item) if self._listed is None else self._paddle(item)
        return [region for region in regions if region.text not in DONT_CARE]

    def _icdar(self, item: Item) -> list[TextRegion]:
        name = os.path.splitext(os.path.basename(item.name))[0]
        for prefix in _PREFIXES:
            file = os.path.join(self._path, f"{prefix}{name}.txt")
            if os.path.isfile(file):
                lines = [line for line in lines_of(file) if line.strip()]
                return [_of_line(number, line, file) for number, line in enumerate(lines)]
        raise ValueError(f"no regions: {self._path} has no gt_{name}.txt")

    def _paddle(self, item: Item) -> list[TextRegion]:
        assert self._listed is not None
        listed = next(
            (self._listed[name] for name in names_of(item, self._root) if name in self._listed), None
        )
        if listed is None:
            raise ValueError(f"no regions: {self._path} does not list it")
        try:
            return [_of_object(number, one) for number, one in enumerate(json.loads(listed))]
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{self._path}: its line is no JSON list of objects with points") from None


def _of_line(number: int, line: str, file: str) -> TextRegion:
    found = _QUADRILATERAL.fullmatch(line)
    if found:
        x1, y1, x2, y2, x3, y3, x4, y4 = map(float, found.groups()[:8])
        return TextRegion(number, [[x1, y1], [x2, y2], [x3, y3], [x4, y4]], _unquoted(found[9]))
    found = _BOX.fullmatch(line)
    if not found:
        raise ValueError(f"{file}: line {number + 1} is not x1,y1,x2,y2,x3,y3,x4,y4,text")
    left, top, right, bottom = map(float, found.groups()[:4])
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return TextRegion(number, points, _unquoted(found[5]))


def _unquoted(text: str | None) -> str | None:
    if text is None:
        return None
    text = text.strip()
    is_quoted = len(text) >= 2 and text.startswith('"') and text.endswith('"')
    return text[1:-1].replace('\\"', '"') if is_quoted else text


def _of_object(number: int, listed: Any) -> TextRegion:
    points = [[float(x), float(y)] for x, y in listed["points"]]
    text = listed.get("transcription")
    return TextRegion(number, points, text if isinstance(text, str) else None)
