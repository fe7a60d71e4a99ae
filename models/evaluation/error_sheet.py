"""The worst errors on one sheet: the crops that were misread although the network was sure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import zip_longest

import cv2
import numpy as np

from models.charset import fold
from models.data.sets.folders import open_set
from models.evaluation.scoring import Mistake

COLUMNS, ROWS = 5, 12
LEGEND = (
    "Most confident first. Under each crop: its label; what was read, errors in red, _ where a character is "
    "missing; confidence in the whole word; set and number."
)

_CELL = (112, 296)  # height and width, pixels
_LEGEND_HEIGHT, _MARGIN, _CROP_HEIGHT = 44, 8, 48
_SIZE, _PITCH = 0.48, 11
_BLACK, _GREY, _RED = (0, 0, 0), (120, 120, 120), (210, 0, 0)
_MISSING = "_"


def worst(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """As many as a sheet holds, the most confident first."""
    by_confidence = sorted(mistakes, key=lambda mistake: -mistake.reading.confidence)
    return by_confidence[: COLUMNS * ROWS]


def error_sheet(title: str, mistakes: Sequence[Mistake]) -> np.ndarray:
    """A sheet of the worst mistakes, (H, W, 3) uint8, RGB, with a legend."""
    shown = worst(mistakes)
    rows = max(1, -(-len(shown) // COLUMNS))
    height, width = _CELL
    sheet = np.full((_LEGEND_HEIGHT + rows * height, COLUMNS * width, 3), 255, np.uint8)
    _write(sheet, f"{title}: {len(shown)} of {len(mistakes)} errors", (_MARGIN, 18), _BLACK)
    _write(sheet, LEGEND, (_MARGIN, 36), _GREY, 0.4)
    sets = {path: open_set(path) for path in {mistake.path for mistake in shown}}
    for place, mistake in enumerate(shown):
        top, left = _LEGEND_HEIGHT + place // COLUMNS * height, place % COLUMNS * width
        labelled = sets[mistake.path]
        rgb, _ = labelled.crop(mistake.number)
        _draw(sheet[top : top + height, left : left + width], mistake, rgb, labelled.name)
    return sheet


def align(label: str, text: str) -> list[tuple[str, str]]:
    """Pairs of characters of a label and of what was read; "_" stands for a missing one."""
    if len(label) == len(text):
        return list(zip(label, text, strict=True))
    pairs: list[tuple[str, str]] = []
    for _, i, j, k, m in SequenceMatcher(None, label, text, autojunk=False).get_opcodes():
        pairs += zip_longest(label[i:j], text[k:m], fillvalue=_MISSING)
    return pairs


def _draw(cell: np.ndarray, mistake: Mistake, rgb: np.ndarray, set_name: str) -> None:
    height, width = rgb.shape[:2]
    scale = min(_CROP_HEIGHT / height, (cell.shape[1] - 2 * _MARGIN) / width)
    shown = cv2.resize(rgb, (max(1, int(width * scale)), max(1, int(height * scale))))
    cell[: shown.shape[0], _MARGIN : _MARGIN + shown.shape[1]] = shown
    pairs = align(mistake.label, fold(mistake.reading.final.text))
    for column, (wanted, read) in enumerate(pairs):
        middle = _MARGIN + column * _PITCH + _PITCH // 2
        _write(cell, wanted, (middle - _width(wanted) // 2, 64), _BLACK)
        _write(cell, read, (middle - _width(read) // 2, 82), _BLACK if read == wanted else _RED)
    confidence = f"{100 * mistake.reading.confidence:.1f} %"
    _write(cell, f"{confidence}   {set_name} {mistake.number}", (_MARGIN, 99), _GREY, 0.38)


def _write(
    image: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int], size: float = _SIZE
) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _width(text: str) -> int:
    """In pixels, as `_write` writes it."""
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _SIZE, 1)[0][0]
