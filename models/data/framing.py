"""How whoever cut a crop framed it: margins, letterboxes, padding to the right, close cuts."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.texts import weighted

# uint8; OpenCV's own annotations know no element types.
Image = npt.NDArray[Any]
Rng = np.random.Generator


def frame(image: Image, rng: Rng) -> Image:
    """(H, W, 3) uint8 RGB -> the same kind, at p 0.13 with more around it, at p 0.02 padded to the right."""
    dice = rng.random()
    if dice < 0.08:
        return _bordered(image, rng.uniform(0.1, 0.4, 4) * image.shape[0], rng)
    if dice < 0.11:
        return _letterboxed(image, rng)
    if dice < 0.13:
        wide = rng.uniform(2.0, 4.0) * image.shape[0]
        return _bordered(image, np.array([0.0, 0.0, 0.0, max(0.0, wide - image.shape[1])]), rng)
    return image


def _letterboxed(image: Image, rng: Rng) -> Image:
    """Centred on a canvas of another shape: bars above and below, or to both sides."""
    height, width = image.shape[:2]
    bar = rng.uniform(0.05, 0.4)
    if rng.random() < 0.5:
        return _bordered(image, np.array([bar * height, bar * height, 0.0, 0.0]), rng)
    return _bordered(image, np.array([0.0, 0.0, bar * width, bar * width]), rng)


def _bordered(image: Image, margins: npt.NDArray[np.float64], rng: Rng) -> Image:
    """Adds margins (top, bottom, left, right): the rim repeated, its colour, black, white or grey."""
    top, bottom, left, right = map(int, margins)
    fill = weighted(rng, (("rim", 0.35), ("repeat", 0.3), ("black", 0.15), ("white", 0.15), ("grey", 0.05)))
    if fill == "repeat":
        return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
    if fill == "rim":
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        value = np.median(rim, axis=0).tolist()
    else:
        value = [{"black": 0, "white": 255, "grey": 127}[fill]] * 3
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value)
