"""Shapes made of a mask of letters, (H, W) uint8 0..255 each: strokes, tubes, dots, wear, bodies, shadows."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from models.data.rendering.backgrounds import Pixels
from models.data.rendering.glyphs import EM, Image

Rng = np.random.Generator


def coverage(mask: Image) -> Pixels:
    """0..1 float32."""
    return mask.astype(np.float32) * np.float32(1 / 255)


@functools.cache
def _disc(radius: int) -> Image:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)


def swollen(mask: Image, radius: int) -> Image:
    return cv2.dilate(mask, _disc(radius))


def bolder(mask: Image, rng: Rng) -> Image:
    return cv2.dilate(mask, np.ones((2, 2) if rng.random() < 0.6 else (3, 3), np.uint8))


def outlined(mask: Image, rng: Rng) -> Image:
    """The rim of the letters, 1 to 3 pixels wide, in the letters or around them too."""
    outer = swollen(mask, 1) if rng.random() < 0.5 else mask
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=int(rng.integers(1, 3)))
    return cv2.subtract(outer, inner)


def double_outlined(mask: Image) -> Image:
    """A thin line round the letters, at some distance."""
    return cv2.subtract(swollen(mask, 4), swollen(mask, 2))


def dotted(mask: Image, rng: Rng) -> Image:
    """As needle printers and lamp boards draw: the letters on a coarse grid, a dot in each cell."""
    height, width = mask.shape
    pitch = EM / rng.uniform(10.0, 17.0)
    mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    rows, columns = max(4, round(height / pitch)), max(4, round(width / pitch))
    cell = 6
    grid = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
    lit = np.where(grid > rng.uniform(60, 110), 255, 0).astype(np.uint8)
    dots = cv2.resize(lit, (columns * cell, rows * cell), interpolation=cv2.INTER_NEAREST)
    tile = np.zeros((cell, cell), np.uint8)
    cv2.circle(tile, (cell // 2, cell // 2), int(rng.integers(2, 4)), (255,), -1)
    np.bitwise_and(dots, np.tile(tile, (rows, columns)), out=dots)
    return cv2.resize(dots, (width, height), interpolation=cv2.INTER_AREA)


def worn(mask: Image, rng: Rng) -> Image:
    """Paint that flakes off, ink that did not take: in spots smaller than letters, which stay readable."""
    height, width = mask.shape
    cell = rng.uniform(2.0, 6.0)
    size = (max(2, int(width / cell)), max(2, int(height / cell)))
    spots = cv2.resize(rng.standard_normal(size[::-1], np.float32), (width, height))
    kept = np.clip((spots + np.float32(rng.uniform(0.3, 1.2))) * np.float32(2.5), 0.0, 1.0)
    return (mask * kept).astype(np.uint8)


def streaked(mask: Image, rng: Rng) -> Image:
    """Lines of a thermal or ribbon printer that stayed pale, across or down."""
    lines = mask.shape[int(rng.integers(2))]
    drawn = np.clip(rng.normal(1.1, 0.35, (lines, 1)), 0.15, 1.0).astype(np.float32)
    strength: Pixels = cv2.GaussianBlur(drawn, (0, 0), 0.8)
    if lines != mask.shape[0]:
        strength = strength.T
    return (mask * strength).astype(np.uint8)


def shifted(mask: Image, dx: int, dy: int) -> Image:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(mask, matrix, (mask.shape[1], mask.shape[0]), flags=cv2.INTER_NEAREST)


def extruded(mask: Image, rng: Rng) -> Image:
    """The letters and the body behind them, to one side."""
    depth = int(rng.integers(2, 8))
    line = np.zeros((2 * depth + 1, 2 * depth + 1), np.uint8)
    angle = rng.uniform(0.0, 2 * np.pi)
    tip = (depth + round(depth * np.cos(angle)), depth + round(depth * np.sin(angle)))
    cv2.line(line, (depth, depth), tip, (1,))
    return cv2.dilate(mask, line)


def slope(mask: Image, rng: Rng) -> Pixels:
    """(H, W) float32 about 0: light from one side on raised or sunk edges."""
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.8, 2.2)).astype(np.float32)
    angle = rng.uniform(0.0, 2 * np.pi)
    across, down = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    return (np.cos(angle) * across + np.sin(angle) * down).astype(np.float32)
