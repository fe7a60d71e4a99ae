"""How a detector or a person frames a word: with margins, with bars to a fixed shape, too tightly, from far
away."""

from __future__ import annotations

import cv2
import numpy as np

from models.data.augment import Image, Rng

#: Shares of the crops.
MARGINS, TIGHT, DISTANT = 0.25, 0.1, 0.12
WIDEST_MARGIN = 0.4
PADDED, WIDEST_PADDING = 0.2, 2.0
TIGHTEST = (0.06, 0.03)
HEIGHTS = (8.0, 16.0)
LEAST_PIXELS = 12


def reframe(image: Image, rng: Rng) -> Image:
    """A quarter of the crops with margins, a tenth cut tightly.

    image: (H, W, 3) uint8 RGB, not changed. Returns the same kind of image, of another size.
    """
    dice = rng.random()
    if dice < MARGINS:
        return add_margins(image, rng)
    if dice < MARGINS + TIGHT:
        return cut_tightly(image, rng)
    return image


def move_away(image: Image, rng: Rng) -> Image:
    """An eighth of the crops from so far that they are 8 to 16 pixels high. image: as above."""
    return shrink(image, rng) if rng.random() < DISTANT else image


def add_margins(image: Image, rng: Rng) -> Image:
    """Up to 40 % of the height on each side, a fifth of them with up to twice the width more at the right:
    the rim repeated or mirrored, its median colour, or bars of black, white or grey."""
    height, width = image.shape[:2]
    top, bottom, left, right = (int(part * height) for part in rng.uniform(0.0, WIDEST_MARGIN, 4))
    if rng.random() < PADDED:
        right += int(rng.uniform(0.0, WIDEST_PADDING) * width)
    sides = top, bottom, left, right
    dice = rng.random()
    if dice < 0.1 and max(top, bottom) < height and max(left, right) < width:
        return cv2.copyMakeBorder(image, *sides, cv2.BORDER_REFLECT_101)
    if dice < 0.55:
        return cv2.copyMakeBorder(image, *sides, cv2.BORDER_REPLICATE)
    if dice < 0.8:
        colour = np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]), axis=0)
    else:
        colour = np.full(3, rng.choice((0, 127, 255)))
    return cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=[int(part) for part in colour])


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
