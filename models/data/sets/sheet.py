"""Contact sheets: many crops with their labels in one PNG, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

CELL_WIDTH, CELL_HEIGHT, CAPTION = 190, 48, 16


def contact_sheet(crops: Sequence[tuple[npt.NDArray[np.uint8], str]], path: Path, columns: int = 8) -> None:
    """Writes a PNG of the crops, (H, W, 3) uint8 RGB, each with its label under it.

    Raises: OSError if the file cannot be written.
    """
    cells = [_cell(image, label) for image, label in crops]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    written, encoded = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    assert written
    path.write_bytes(encoded.tobytes())


def check_sheet(path: Path | None) -> None:
    """Raises ValueError if a sheet's folder is missing: a sheet is written after hours of other work."""
    if path and not path.parent.is_dir():
        raise ValueError(f"{path}: no folder {path.parent}; make it first")


def _cell(image: npt.NDArray[np.uint8], label: str) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = min(CELL_HEIGHT / height, (CELL_WIDTH - 4) / width)
    shown = cv2.resize(image, (max(1, int(width * scale)), max(1, int(height * scale))))
    cell = np.full((CELL_HEIGHT + CAPTION, CELL_WIDTH, 3), 255, np.uint8)
    cell[: shown.shape[0], : shown.shape[1]] = shown
    cv2.putText(
        cell, label, (0, CELL_HEIGHT + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (190, 0, 0), 1, cv2.LINE_AA
    )
    return cell
