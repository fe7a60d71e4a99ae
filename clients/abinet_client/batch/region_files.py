"""The outlines of texts in photos, from the files of detection sets and of detectors.

| form | LABELS | a line |
|---|---|---|
| ICDAR | a folder: `gt_img_1.txt`, `res_img_1.txt` or `img_1.txt` for `img_1.jpg` | `x1,y1,x2,y2,x3,y3,x4,y4,text`, or `left, top, right, bottom, "text"`; the text may be missing |
| PaddleOCR | a file | `photos/img_1.jpg<tab>[{"transcription": "text", "points": [[x, y], ...]}]` |
"""  # noqa: E501

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from abinet_client.batch.label_files import lines_of, root_of
from abinet_client.batch.labels import names_of
from abinet_client.batch.sources import Item

DONT_CARE = ("###", "*")
"""Transcriptions of texts that nobody can read; they are not read, and not counted."""
_SAME_PLACE = 0.5
_PREFIXES = ("gt_", "res_", "")
_QUADRILATERAL = re.compile(r"\s*" + r"[,\s]\s*".join([r"(-?\d+(?:\.\d+)?)"] * 8) + r"\s*(?:[,\s](.*))?")
_BOX = re.compile(r"\s*" + r"[,\s]\s*".join([r"(-?\d+(?:\.\d+)?)"] * 4) + r"\s*(?:[,\s](.*))?")


class TextRegion(NamedTuple):
    """A text in a photo: its number there from 0, its outline, and what it says if that is known."""

    number: int
    points: Sequence[Sequence[float]]
    text: str | None


class NoRegionsError(ValueError):
    """The files say nothing of a photo."""


class RegionFiles:
    """The regions of photos, in a folder of ICDAR's files or a file of PaddleOCR's.

    With `truth` the texts are those of its regions in the same places (an intersection over union of half or
    more), as ICDAR's end-to-end tasks match them; a region in the place of one that nobody can read has none.

    Raises:
        ValueError: it is neither.
        OSError: it cannot be read.
    """

    def __init__(self, path: str, truth: RegionFiles | None = None) -> None:
        self._path = path
        self._truth = truth
        self._listed: dict[str, list[str]] | None = None
        self._asked: set[str] = set()
        if os.path.isdir(path):
            if not self._files():
                raise ValueError(f"{path}: a folder without ICDAR's gt_NAME.txt")
            return
        lines = [line.partition("\t") for line in lines_of(path) if line.strip()]
        if not lines or not all(tab and listed.lstrip().startswith("[") for _, tab, listed in lines):
            raise ValueError(
                f"{path}: neither a folder of ICDAR's gt_NAME.txt nor a file of PaddleOCR's lines, "
                'PATH<tab>[{"transcription": ..., "points": ...}]'
            )
        self._listed = {}
        for name, _, listed in lines:
            of_photo = self._listed.setdefault(os.path.normpath(name), [])
            if listed not in of_photo:
                of_photo.append(listed)
        self._root = root_of(path, list(self._listed))

    def of(self, item: Item) -> list[TextRegion]:
        """The legible regions of a photo. Raises NoRegionsError, or ValueError if they are broken."""
        regions = [region for region in self._all(item) if region.text not in DONT_CARE]
        return regions if self._truth is None else self._truth.labelled(item, regions)

    @property
    def unused(self) -> int:
        """How many photos have regions here of which nobody has asked."""
        return len(self._files() if self._listed is None else self._listed) - len(self._asked)

    def labelled(self, item: Item, regions: list[TextRegion]) -> list[TextRegion]:
        """Those regions with the texts that these files have in their places. Raises ValueError if broken."""
        try:
            ours = self._all(item)
        except NoRegionsError:
            ours = []
        labelled = []
        for region in regions:
            overlaps = [overlap(region.points, one.points) for one in ours]
            most = max(overlaps, default=0.0)
            text = ours[overlaps.index(most)].text if most >= _SAME_PLACE else None
            labelled.append(region._replace(text=None if text in DONT_CARE else text))
        return labelled

    def _all(self, item: Item) -> list[TextRegion]:
        return self._icdar(item) if self._listed is None else self._paddle(item)

    def _icdar(self, item: Item) -> list[TextRegion]:
        name = os.path.splitext(os.path.basename(item.name))[0]
        for prefix in _PREFIXES:
            file = os.path.join(self._path, f"{prefix}{name}.txt")
            if os.path.isfile(file):
                self._asked.add(file)
                lines = [line for line in lines_of(file) if line.strip()]
                return [_of_line(number, line, file) for number, line in enumerate(lines)]
        raise NoRegionsError(f"no regions: {self._path} has no gt_{name}.txt")

    def _paddle(self, item: Item) -> list[TextRegion]:
        assert self._listed is not None
        name = next((name for name in names_of(item, self._root) if name in self._listed), None)
        if name is None:
            elsewhere = self._places.get(os.path.basename(item.name))
            but = f", but {elsewhere}" if elsewhere else ""
            raise NoRegionsError(f"no regions: {self._path} does not list it{but}")
        self._asked.add(name)
        try:
            listed = [one for line in self._listed[name] for one in json.loads(line)]
            return [_of_object(number, one) for number, one in enumerate(listed)]
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{self._path}: its line is no JSON list of objects with points") from None

    @cached_property
    def _places(self) -> dict[str, str]:
        """Where a photo of each name is listed, for errors."""
        return {re.split(r"[/\\]", name)[-1]: name for name in self._listed or ()}

    def _files(self) -> list[str]:
        return [name for name in os.listdir(self._path) if name.endswith(".txt")]


def overlap(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Intersection over union of two outlines' convex hulls, 0 to 1."""
    import cv2
    import numpy

    hulls = [cv2.convexHull(numpy.array(points, numpy.float32)) for points in (one, other)]
    areas = [cv2.contourArea(hull) for hull in hulls]
    if not all(areas):
        return 0.0
    common: float = cv2.intersectConvexConvex(hulls[0], hulls[1])[0]
    return common / (sum(areas) - common)


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
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a coordinate is not a number")
    text = listed.get("transcription")
    return TextRegion(number, points, text if isinstance(text, str) else None)
