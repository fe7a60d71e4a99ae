"""Places the letters of a crop: the word, its neighbours, curve, perspective, the cut of the crop."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.data.rendering.glyphs import Image, LayoutStyle, Typeface
from models.data.rendering.texts import Texts, weighted
from models.data.rendering.words import WordSampler

# OpenCV's own annotations know no element types.
Points = npt.NDArray[Any]
Rng = np.random.Generator


class Placed(NamedTuple):
    """Coverage masks of one crop, (H, W) uint8: the word to read, and what else is written around it.

    ``tallness``: the crop's height by that of the word as it was laid out, before it was turned or bent.
    """

    word: Image
    around: Image
    tallness: float = 1.0


def place_in_street(
    typeface: Typeface, text: str, words: WordSampler, texts: Texts, rng: Rng
) -> Placed | None:
    """Lays the word out, sometimes bends it, and views it from some direction; None without ink."""
    canvas, gap = _write(typeface, text, words, texts, _layout_style(rng), rng, beside=0.34, stacked=0.3)
    if canvas is None:
        return None
    height = canvas.shape[0] - 2 * typeface.em
    dice = rng.random()
    if dice < 0.1:
        canvas = _arc(canvas, typeface.em, rng)
    elif dice < 0.16:
        canvas = _wave(canvas, typeface.em, rng)
    canvas = _view(canvas, rng)
    low, high = weighted(rng, (((-0.04, 0.06), 0.3), ((0.02, 0.2), 0.45), ((0.1, 0.42), 0.25)))
    return _cut(canvas, typeface.em, height, gap, rng.uniform(low, high, 4))


def place_on_screen(
    typeface: Typeface, text: str, words: WordSampler, texts: Texts, rng: Rng
) -> Placed | None:
    """Upright, cut close to the ink and often into it."""
    style = LayoutStyle(
        spacing=rng.uniform(-0.04, 0.2) if rng.random() < 0.2 else 0.0,
        stretch=float(np.exp(rng.normal(0.0, 0.15))) if rng.random() < 0.2 else 1.0,
    )
    canvas, gap = _write(typeface, text, words, texts, style, rng, beside=0.5, stacked=0.25)
    if canvas is None:
        return None
    height = canvas.shape[0] - 2 * typeface.em
    if rng.random() < 0.04:
        canvas = _view(canvas, rng)
    low, high = weighted(rng, (((-0.08, 0.03), 0.5), ((-0.02, 0.1), 0.38), ((0.05, 0.3), 0.12)))
    return _cut(canvas, typeface.em, height, gap, rng.uniform(low, high, 4))


def place_on_paper(
    typeface: Typeface, text: str, words: WordSampler, texts: Texts, rng: Rng
) -> Placed | None:
    """In wide lines, a little askew, with room around."""
    style = LayoutStyle(
        spacing=rng.uniform(-0.05, 0.15) if rng.random() < 0.5 else 0.0,
        stretch=float(np.exp(rng.normal(-0.1, 0.25))),
    )
    canvas, gap = _write(typeface, text, words, texts, style, rng, beside=0.4, stacked=0.4)
    if canvas is None:
        return None
    height = canvas.shape[0] - 2 * typeface.em
    if rng.random() < 0.5:
        canvas = _warped(canvas, _turned(_corners(canvas), np.deg2rad(rng.normal(0.0, 1.3))))
    low, high = weighted(rng, (((-0.03, 0.1), 0.2), ((0.05, 0.3), 0.6), ((0.1, 0.5), 0.2)))
    return _cut(canvas, typeface.em, height, gap, rng.uniform(low, high, 4))


def _layout_style(rng: Rng) -> LayoutStyle:
    dice, spacing = rng.random(), 0.0
    if dice < 0.3:
        spacing = rng.uniform(-0.06, 0.12)
    elif dice < 0.38:
        spacing = rng.uniform(0.12, 0.5)
    return LayoutStyle(
        spacing=spacing,
        stretch=float(np.exp(rng.normal(-0.1, 0.2))) if rng.random() < 0.6 else 1.0,
        jitter=rng.uniform(0.01, 0.08) if rng.random() < 0.08 else 0.0,
        small_capitals=rng.uniform(0.68, 0.85) if rng.random() < 0.05 else 1.0,
        bridge=rng.uniform(0.04, 0.1) if rng.random() < 0.02 else 0.0,
    )


def _write(
    typeface: Typeface,
    text: str,
    words: WordSampler,
    texts: Texts,
    style: LayoutStyle,
    rng: Rng,
    *,
    beside: float,
    stacked: float,
) -> tuple[Image | None, tuple[int, int]]:
    """The word in channel 0 of a canvas with a margin of an em, neighbours in channel 1; None without ink.

    ``beside`` and ``stacked`` are the chances of neighbours on the line, and of lines above or below. Also
    returned: the gap to them in pixels, across and down.
    """
    word, em = typeface.lay_out(text, style, rng), typeface.em
    if min(word.shape) < 6:
        return None, (0, 0)
    height, width = word.shape
    canvas = np.zeros((height + 2 * em, width + 2 * em, 2), np.uint8)
    canvas[em : em + height, em : em + width, 0] = word
    across, down = max(1, int(em * rng.uniform(0.2, 0.5))), int(em * rng.uniform(0.02, 0.6))
    has_beside, has_stacked = rng.random(2) < (beside, stacked)
    if has_beside:
        for side in (-1, 1):
            if rng.random() < 0.65:
                other = typeface.lay_out(words.sample(rng, texts), style, rng)
                x = em - across - other.shape[1] if side < 0 else em + width + across
                _stamp(canvas[..., 1], other, x, em + height - other.shape[0])
    if has_stacked:
        for side in (-1, 1):
            if rng.random() < 0.6:
                _write_line(canvas, typeface, words, texts, style, (down, side), rng)
    return canvas, (across if has_beside else em, down if has_stacked else em)


def _write_line(
    canvas: Image,
    typeface: Typeface,
    words: WordSampler,
    texts: Texts,
    style: LayoutStyle,
    where: tuple[int, int],
    rng: Rng,
) -> None:
    """A line above (side -1) or below (1), `down` pixels away, now and then larger or smaller."""
    (down, side), em = where, typeface.em
    other = typeface.lay_out(f"{words.sample(rng, texts)} {words.sample(rng, texts)}", style, rng)
    if rng.random() < 0.3:
        scale = rng.uniform(0.5, 1.6)
        other = cv2.resize(other, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    height, width = canvas.shape[0] - 2 * em, canvas.shape[1] - 2 * em
    y = em - down - other.shape[0] if side < 0 else em + height + down
    _stamp(canvas[..., 1], other, em + int(rng.integers(-width // 2 - 1, width // 2 + 1)), y)


def _stamp(canvas: Image, mask: Image, x: int, y: int) -> None:
    """Draws the part of the mask that lies on the canvas."""
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(mask.shape[0], canvas.shape[0] - y), min(mask.shape[1], canvas.shape[1] - x)
    if bottom > top and right > left:
        window = canvas[y + top : y + bottom, x + left : x + right]
        np.maximum(window, mask[top:bottom, left:right], out=window)


def _arc(canvas: Image, em: int, rng: Rng) -> Image:
    """On a circle, letters upright on its radii: over it, or hanging in it."""
    height, width = canvas.shape[:2]
    letters = height - 2 * em
    angle = rng.uniform(0.4, 2.6) * min(1.0, 0.4 + width / (8 * em))
    radius = max((width - 2 * em) / angle, 0.6 * letters)
    reach = min(width / (2 * radius), 2.4)
    # Over the circle the baseline is on it; in it, the tops are.
    outer, inner = radius + em + letters, max(1.0, radius - em)
    half = int(np.ceil(outer * np.sin(min(reach, np.pi / 2))))
    tall = int(np.ceil(outer - inner * np.cos(reach)))
    dx = np.arange(-half, half + 1, dtype=np.float32)[None, :]
    dy = outer - np.arange(tall, dtype=np.float32)[:, None]
    rows = np.float32(outer) - cv2.magnitude(*map(np.ascontiguousarray, np.broadcast_arrays(dx, dy)))
    columns = np.float32(width / 2) + np.arctan2(dx, dy) * np.float32(radius)
    if rng.random() < 0.3:
        bent = cv2.remap(canvas[::-1], columns, rows, cv2.INTER_LINEAR)
        return np.ascontiguousarray(bent[::-1])
    return cv2.remap(canvas, columns, rows, cv2.INTER_LINEAR)


def _wave(canvas: Image, em: int, rng: Rng) -> Image:
    """Letters upright on a baseline that rises and falls, or sags."""
    height, width = canvas.shape[:2]
    t = np.linspace(-1.0, 1.0, width, dtype=np.float32)
    depth = em * rng.uniform(0.15, 0.9) * min(1.0, width / (6 * em)) * rng.choice((-1.0, 1.0))
    if rng.random() < 0.5:
        rise = depth * (t * t - 0.5)
    else:
        rise = 0.5 * depth * np.sin((t * rng.uniform(0.7, 1.6) + rng.random()) * np.pi)
    room = int(np.ceil(abs(depth)))
    rows = np.arange(height + 2 * room, dtype=np.float32)[:, None] - room - rise[None, :].astype(np.float32)
    columns = np.broadcast_to(np.arange(width, dtype=np.float32), rows.shape)
    return cv2.remap(canvas, np.ascontiguousarray(columns), rows, cv2.INTER_LINEAR)


def _view(canvas: Image, rng: Rng) -> Image:
    """The plane of the sign seen from somewhere: turned, from the side, from below, sheared."""
    if rng.random() < 0.15:
        return canvas
    corners = _corners(canvas)
    if rng.random() < 0.25:
        corners[:, 0] -= np.float32(np.clip(rng.normal(0.0, 0.18), -0.5, 0.5)) * corners[:, 1]
    spread = weighted(rng, ((0.0, 0.25), (8.0, 0.4), (28.0, 0.35)))
    yaw, pitch = np.clip(rng.normal(0.0, (spread, 0.5 * spread)), (-62, -40), (62, 40))
    corners = _projected(corners, np.deg2rad(yaw), np.deg2rad(pitch), rng.uniform(1.1, 4.0))
    roll = np.clip(rng.normal(0.0, weighted(rng, ((1.5, 0.32), (6.0, 0.48), (14.0, 0.2)))), -45, 45)
    return _warped(canvas, _turned(corners, np.deg2rad(roll)))


def _corners(canvas: Image) -> Points:
    """Clockwise from the top left, around the middle."""
    height, width = canvas.shape[:2]
    half = np.array([width, height], np.float32) / 2
    return half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)


def _projected(corners: Points, yaw: float, pitch: float, distance: float) -> Points:
    """As a pinhole camera sees the turned plane from `distance` times its larger side."""
    x, y = corners.T
    depth = x * np.sin(yaw) + y * np.cos(yaw) * np.sin(pitch)
    scale = 1.0 / (1.0 + depth / (distance * np.abs(corners).max() * 2))
    seen = np.stack([x * np.cos(yaw) * scale, (y * np.cos(pitch)) * scale], axis=1)
    return seen.astype(np.float32)


def _turned(corners: Points, angle: float) -> Points:
    sine, cosine = np.sin(angle), np.cos(angle)
    return corners @ np.array([[cosine, sine], [-sine, cosine]], np.float32)


def _warped(canvas: Image, target: Points) -> Image:
    """The canvas with its corners moved to `target`, on one that holds it all."""
    low = target.min(axis=0)
    size = np.ceil(target.max(axis=0) - low).astype(int)
    source = _corners(canvas)
    matrix = cv2.getPerspectiveTransform(source - source[0], (target - low).astype(np.float32))
    return cv2.warpPerspective(canvas, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR)


def _cut(
    canvas: Image, em: int, letters: int, gap: tuple[int, int], margins: npt.NDArray[np.float64]
) -> Placed | None:
    """The annotator's box: about the word's ink, tight or loose, now and then slightly into it.

    ``letters`` is the height of the word as laid out, ``margins`` those to the left, right, top and bottom,
    relative to the height.
    """
    word = canvas[..., 0]
    x, y, width, height = cv2.boundingRect((word > 96).view(np.uint8))
    if min(width, height) < 6:
        return None
    margins = margins * min(height, 1.5 * em)
    # Whole letters of a neighbour must not be in the crop, because they would belong to the label.
    margins[:2] = np.minimum(margins[:2], gap[0] + 0.12 * em)
    left, right, top, bottom = np.floor(margins).astype(int)
    x0, x1 = max(0, x - left), min(canvas.shape[1], x + width + right)
    y0, y1 = max(0, y - top), min(canvas.shape[0], y + height + bottom)
    word, around = (np.ascontiguousarray(canvas[y0:y1, x0:x1, channel]) for channel in range(2))
    return Placed(word, around, (y1 - y0) / letters)
