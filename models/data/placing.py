"""Where the letters of a crop stand: the word, its neighbours, curve, perspective, the cut of the crop."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.data.glyphs import EM, Image, LayoutStyle, Typeface
from models.data.words import WordSampler

MARGIN = EM
Points = npt.NDArray[np.float32]


class Placed(NamedTuple):
    """Coverage masks of one crop, (H, W) uint8: the word to read, and what else is written around it."""

    word: Image
    around: Image


def place(typeface: Typeface, text: str, words: WordSampler, rng: np.random.Generator) -> Placed | None:
    """Lays the word out and looks at it from somewhere; None where the typeface leaves no ink."""
    style = layout_style(rng)
    word = typeface.lay_out(text, style, rng)
    if min(word.shape) < 6:
        return None
    height, width = word.shape
    canvas = np.zeros((height + 2 * MARGIN, width + 2 * MARGIN, 2), np.uint8)
    canvas[MARGIN : MARGIN + height, MARGIN : MARGIN + width, 0] = word
    gap = _write_around(canvas, typeface, style, words, rng)
    if rng.random() < 0.15:
        canvas = _bend(canvas, rng)
    canvas = _view(canvas, rng)
    return _cut(canvas, gap, rng)


def layout_style(rng: np.random.Generator) -> LayoutStyle:
    dice, spacing = rng.random(), 0.0
    if dice < 0.3:
        spacing = rng.uniform(-0.05, 0.12)
    elif dice < 0.38:
        spacing = rng.uniform(0.12, 0.5)
    return LayoutStyle(
        spacing=spacing,
        stretch=float(np.exp(rng.normal(-0.1, 0.18))) if rng.random() < 0.6 else 1.0,
        jitter=rng.uniform(0.01, 0.07) if rng.random() < 0.06 else 0.0,
        small_capitals=rng.uniform(0.68, 0.85) if rng.random() < 0.05 else 1.0,
    )


def _write_around(
    canvas: Image, typeface: Typeface, style: LayoutStyle, words: WordSampler, rng: np.random.Generator
) -> tuple[int, int]:
    """Writes neighbours into channel 1; returns the gap to them in pixels, across and down."""
    height, width = canvas.shape[0] - 2 * MARGIN, canvas.shape[1] - 2 * MARGIN
    across, down = int(EM * rng.uniform(0.22, 0.5)), int(EM * rng.uniform(0.05, 0.6))
    beside, stacked = rng.random(2) < (0.3, 0.2)
    if beside:
        for side in (-1, 1):
            if rng.random() < 0.65:
                other = typeface.lay_out(words.sample(rng), style, rng)
                x = MARGIN - across - other.shape[1] if side < 0 else MARGIN + width + across
                _stamp(canvas[..., 1], other, x, MARGIN + height - other.shape[0])
    if stacked:
        for side in (-1, 1):
            if rng.random() < 0.6:
                other = typeface.lay_out(words.sample(rng), style, rng)
                y = MARGIN - down - other.shape[0] if side < 0 else MARGIN + height + down
                _stamp(canvas[..., 1], other, MARGIN + int(rng.integers(-width // 2 - 1, width // 2 + 1)), y)
    return (across if beside else MARGIN, down if stacked else MARGIN)


def _stamp(canvas: Image, mask: Image, x: int, y: int) -> None:
    """Draws the part of the mask that lies on the canvas."""
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(mask.shape[0], canvas.shape[0] - y), min(mask.shape[1], canvas.shape[1] - x)
    if bottom > top and right > left:
        window = canvas[y + top : y + bottom, x + left : x + right]
        np.maximum(window, mask[top:bottom, left:right], out=window)


def _bend(canvas: Image, rng: np.random.Generator) -> Image:
    """Curved baselines: an arc, or a wave."""
    height, width = canvas.shape[:2]
    t = np.linspace(-1.0, 1.0, width, dtype=np.float32)
    depth = EM * rng.uniform(0.15, 0.9) * min(1.0, width / (6 * EM)) * rng.choice((-1.0, 1.0))
    if rng.random() < 0.7:
        rise = depth * (t * t - 0.5)
    else:
        rise = 0.5 * depth * np.sin((t * rng.uniform(0.7, 1.6) + rng.random()) * np.pi)
    room = int(np.ceil(abs(depth)))
    taller = height + 2 * room
    rows = np.arange(taller, dtype=np.float32)[:, None] - room - rise[None, :].astype(np.float32)
    columns = np.broadcast_to(np.arange(width, dtype=np.float32), (taller, width))
    return cv2.remap(canvas, np.ascontiguousarray(columns), rows, cv2.INTER_LINEAR)


def _view(canvas: Image, rng: np.random.Generator) -> Image:
    """Rotation, slant and perspective in one warp, onto a canvas that holds it all."""
    height, width = canvas.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target = corners.copy()
    dice = rng.random()
    if dice < 0.25:
        return canvas
    if rng.random() < 0.35:
        target[:, 0] += np.float32(rng.normal(0.0, 0.15)) * (height / 2 - target[:, 1])
    if rng.random() < 0.4:
        target = _foreshorten(target, width, height, rng)
    if rng.random() < 0.75:
        spread = 2.0 if dice < 0.7 else (7.0 if dice < 0.94 else 15.0)
        target = _rotate(target, np.deg2rad(np.clip(rng.normal(0.0, spread), -40, 40)))
    low = target.min(axis=0)
    size = np.ceil(target.max(axis=0) - low).astype(int)
    matrix = cv2.getPerspectiveTransform(corners, (target - low).astype(np.float32))
    return cv2.warpPerspective(canvas, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR)


def _foreshorten(corners: Points, width: int, height: int, rng: np.random.Generator) -> Points:
    """One side farther away than the other, and all corners a little off."""
    target = corners.copy()
    squeeze = rng.uniform(0.0, 0.42) * height / 2
    far = (0, 3) if rng.random() < 0.5 else (1, 2)
    target[far[0], 1] += squeeze
    target[far[1], 1] -= squeeze * rng.uniform(0.2, 1.0)
    target[:, 0] *= rng.uniform(0.7, 1.0)
    target += rng.normal(0.0, 0.03 * height, (4, 2)).astype(np.float32)
    return target


def _rotate(corners: Points, angle: float) -> Points:
    sine, cosine = np.sin(angle), np.cos(angle)
    return corners @ np.array([[cosine, sine], [-sine, cosine]], np.float32)


def _cut(canvas: Image, gap: tuple[int, int], rng: np.random.Generator) -> Placed | None:
    """The annotator's box: about the word's ink, tight or loose, now and then slightly into it."""
    word = canvas[..., 0]
    x, y, width, height = cv2.boundingRect((word > 96).view(np.uint8))
    if min(width, height) < 6:
        return None
    dice = rng.random()
    low, high = (-0.04, 0.06) if dice < 0.35 else ((0.02, 0.2) if dice < 0.82 else (0.1, 0.42))
    margins = rng.uniform(low, high, 4) * min(height, 1.5 * EM)
    # Whole letters of a neighbour must not come in: they would belong to the label.
    margins[:2] = np.minimum(margins[:2], gap[0] + 0.12 * EM)
    left, right, top, bottom = margins.astype(int)
    x0, x1 = max(0, x - left), min(canvas.shape[1], x + width + right)
    y0, y1 = max(0, y - top), min(canvas.shape[0], y + height + bottom)
    piece = canvas[y0:y1, x0:x1]
    return Placed(np.ascontiguousarray(piece[..., 0]), np.ascontiguousarray(piece[..., 1]))
