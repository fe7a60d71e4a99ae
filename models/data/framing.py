"""Frames words as detectors and people do: with margins, with bars to a fixed shape, too tightly, from far
away.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from models.data.augment import Image, Rng


class Shares(NamedTuple):
    """The shares of crops that get margins, bars or padding on the right, or are cut tightly."""

    margins: float
    bars: float
    padded: float
    tight: float


#: Stored crops, which all have one framing, and rendered ones, whose boxes are loose and tight already.
STORED, RENDERED = Shares(0.19, 0.03, 0.03, 0.1), Shares(0.08, 0.03, 0.02, 0.0)
DISTANT = 0.12
WIDEST_MARGIN = 0.4
#: The ratio of width to height of a crop that is padded on the right.
PADDED_SHAPES = (2.0, 4.0)
TIGHTEST = (0.06, 0.03)
HEIGHTS = (8.0, 16.0)
LEAST_PIXELS = 12


def reframe(image: Image, rng: Rng, shares: Shares = STORED) -> Image:
    """A quarter of the crops with more around them, a tenth cut tightly, or other shares.

    image: (H, W, 3) uint8 RGB, not changed. Returns the same kind of image, of another size.
    """
    dice = rng.random()
    for share, change in zip(shares, (add_margins, add_bars, pad_right, cut_tightly), strict=True):
        dice -= share
        if dice < 0:
            return change(image, rng)
    return image


def move_away(image: Image, rng: Rng) -> Image:
    """An eighth of the crops from so far that they are 8 to 16 pixels high. image: as above."""
    return shrink(image, rng) if rng.random() < DISTANT else image


def add_margins(image: Image, rng: Rng) -> Image:
    """Up to 40 % of the height on each side."""
    top, bottom, left, right = (int(part * image.shape[0]) for part in rng.uniform(0.0, WIDEST_MARGIN, 4))
    return _bordered(image, (top, bottom, left, right), rng)


def add_bars(image: Image, rng: Rng) -> Image:
    """Centred on a canvas of another shape: bars above and below, or to both sides."""
    axis = int(rng.integers(2))
    bar = int(rng.uniform(0.05, WIDEST_MARGIN) * image.shape[axis])
    return _bordered(image, (bar, bar, 0, 0) if axis == 0 else (0, 0, bar, bar), rng)


def pad_right(image: Image, rng: Rng) -> Image:
    """To a width of up to four times the height, as some readers' inputs are."""
    height, width = image.shape[:2]
    wanted = int(rng.uniform(*PADDED_SHAPES) * height)
    return _bordered(image, (0, 0, 0, max(0, wanted - width)), rng)


def cut_tightly(image: Image, rng: Rng) -> Image:
    """Up to 6 % of the height and 3 % of the width off each side, which touches the outermost strokes."""
    height, width = image.shape[:2]
    if min(height, width) <= LEAST_PIXELS:
        return image
    top, bottom = (int(part * height) for part in rng.uniform(0.0, TIGHTEST[0], 2))
    left, right = (int(part * width) for part in rng.uniform(0.0, TIGHTEST[1], 2))
    return np.ascontiguousarray(image[top : height - bottom, left : width - right])


def shrink(image: Image, rng: Rng) -> Image:
    """To a height of 8 to 16 pixels, by area; a crop that is lower already stays as it is."""
    height, width = image.shape[:2]
    scale = rng.uniform(*HEIGHTS) / height
    if scale >= 1.0:
        return image
    size = max(4, round(width * scale)), max(4, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _bordered(image: Image, sides: tuple[int, int, int, int], rng: Rng) -> Image:
    """Adds pixels (top, bottom, left, right): the rim repeated, its median colour, black, white or grey."""
    dice = rng.random()
    if dice < 0.4:
        return cv2.copyMakeBorder(image, *sides, cv2.BORDER_REPLICATE)
    if dice < 0.7:
        colour = np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]), axis=0)
    else:
        colour = np.full(3, rng.choice((0, 127, 255), p=(0.4, 0.15, 0.45)))
    return cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=[int(part) for part in colour])
