"""Procedural surfaces behind words: plain, graded, and textures of the kinds that signs and streets show."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.rendering.photographs import load_photograph

# float32; OpenCV's own annotations know no element types.
Pixels = npt.NDArray[Any]

HEIGHT, WIDTH = 192, 384
TEXTURES = 160


@functools.cache
def texture_bank(photographs: tuple[Path, ...] = ()) -> TextureBank:
    """The one bank of a process that has these photographs."""
    return TextureBank(photographs)


class TextureBank:
    """Textures made once from a fixed seed, and photographs; a background is a piece of one."""

    def __init__(self, photographs: Sequence[Path] = ()) -> None:
        rng = np.random.default_rng(20210306)
        self._textures = [_normalised(_MAKERS[i % len(_MAKERS)](rng)) for i in range(TEXTURES)]
        self.photographs = tuple(photographs)
        self._loaded: dict[Path, npt.NDArray[Any]] = {}

    def photograph(self, height: int, width: int, rng: np.random.Generator) -> Pixels:
        """(height, width, 3) float32 RGB 0..255: a random cut of a random photograph, mirrored half the time.

        Raises: ValueError if the file is no picture.
        """
        path = self.photographs[rng.integers(len(self.photographs))]
        if path not in self._loaded:
            self._loaded[path] = load_photograph(path)
        picture = self._loaded[path]
        # Of the crop's shape, from a thirtieth of the picture to all of it.
        zoom = min(picture.shape[0] / height, picture.shape[1] / width) * rng.uniform(0.12, 1.0)
        cut_height, cut_width = max(4, int(height * zoom)), max(4, int(width * zoom))
        y = rng.integers(max(1, picture.shape[0] - cut_height))
        x = rng.integers(max(1, picture.shape[1] - cut_width))
        cut = picture[y : y + cut_height, x : x + cut_width]
        if rng.random() < 0.5:
            cut = cut[:, ::-1]
        interpolation = cv2.INTER_AREA if zoom > 1 else cv2.INTER_LINEAR
        return cv2.resize(cut, (width, height), interpolation=interpolation).astype(np.float32)

    def piece(self, height: int, width: int, rng: np.random.Generator) -> Pixels:
        """(height, width) float32, about -1..1 with zero mean: a random cut at a random scale."""
        texture = self._textures[rng.integers(len(self._textures))]
        zoom = rng.uniform(0.35, 1.3)
        cut_height = max(4, min(HEIGHT - 1, int(height * zoom)))
        cut_width = max(4, min(WIDTH - 1, int(width * zoom)))
        y, x = rng.integers(HEIGHT - cut_height), rng.integers(WIDTH - cut_width)
        cut = texture[y : y + cut_height, x : x + cut_width]
        return cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR)

    def surface(
        self, height: int, width: int, colour: Pixels, rng: np.random.Generator, plain: float = 0.4
    ) -> Pixels:
        """(height, width, 3) float32 of about `colour` (RGB 0..255); all of it with the chance `plain`."""
        dice = rng.random()
        if dice < plain:
            return np.full((height, width, 3), colour, np.float32)
        if dice < plain + 0.18:
            return _gradient(height, width, colour, rng)
        strength = 12.0 + 60.0 * rng.beta(1.2, 2.5)
        tint = rng.uniform(0.4, 1.0, 3).astype(np.float32) * strength
        surface = self.piece(height, width, rng)[..., None] * tint + colour
        if dice > 0.9:
            # A second texture in other channels looks like a photograph of several things.
            tint = rng.normal(0.0, 0.5, 3).astype(np.float32) * strength
            surface += self.piece(height, width, rng)[..., None] * tint
        return surface


def _gradient(height: int, width: int, colour: Pixels, rng: np.random.Generator) -> Pixels:
    across, down = rng.normal(0.0, 0.6, 2)
    ramp = np.linspace(-across, across, width)[None, :] + np.linspace(-down, down, height)[:, None]
    return colour + ramp[..., None].astype(np.float32) * rng.uniform(5.0, 55.0, 3).astype(np.float32)


def _normalised(texture: Pixels) -> Pixels:
    centred = texture - texture.mean()
    return np.clip(centred / (2.0 * centred.std() + 1e-6), -1.5, 1.5).astype(np.float32)


def _noise(rng: np.random.Generator, cell_height: float, cell_width: float) -> Pixels:
    """Smooth noise whose features are about the given pixels high and wide."""
    size = (max(2, int(HEIGHT / cell_height)), max(2, int(WIDTH / cell_width)))
    coarse = rng.normal(size=size).astype(np.float32)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _fractal(rng: np.random.Generator) -> Pixels:
    roughness = rng.uniform(0.4, 0.9)
    octaves = [_noise(rng, 96 / 2**i, 96 / 2**i) * roughness**i for i in range(7)]
    return np.sum(octaves, axis=0)


def _grain(rng: np.random.Generator) -> Pixels:
    """Wood, brushed metal and cloth: noise stretched one way."""
    long, short = rng.uniform(40, 200), rng.uniform(1.5, 6)
    cell = (short, long) if rng.random() < 0.6 else (long, short)
    return _noise(rng, *cell) + 0.7 * _noise(rng, 60, 60)


def _bricks(rng: np.random.Generator) -> Pixels:
    high, wide, joint = int(rng.integers(12, 40)), int(rng.integers(24, 90)), int(rng.integers(1, 5))
    wall = _fractal(rng) * 0.4
    for row, y in enumerate(range(0, HEIGHT, high)):
        wall[y : y + joint] += 2.0
        for x in range(-(row % 2) * wide // 2, WIDTH, wide):
            wall[y : y + high, max(x, 0) : max(x + joint, 0)] += 2.0
            wall[y : y + high, max(x, 0) : max(x + wide, 0)] += rng.normal(0.0, 0.35)
    return wall


def _stripes(rng: np.random.Generator) -> Pixels:
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 60)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    hard = np.sign(wave) if rng.random() < 0.5 else wave
    return (hard + 0.3 * _fractal(rng)).astype(np.float32)


def _shapes(rng: np.random.Generator) -> Pixels:
    """Edges and areas as windows, frames and people leave them."""
    canvas = _noise(rng, 90, 90)
    for _ in range(rng.integers(6, 26)):
        level = float(rng.normal(0.0, 1.2))
        x, y = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
        if rng.random() < 0.5:
            corners = np.array([x, y]) + rng.integers(-90, 90, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(canvas, [corners.astype(np.int32)], (level,))
        else:
            cv2.ellipse(canvas, ((x, y), rng.uniform(8, 140, 2).tolist(), rng.uniform(0, 180)), (level,), -1)
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 3.0)) + 0.15 * _fractal(rng)


def _bokeh(rng: np.random.Generator) -> Pixels:
    canvas = _noise(rng, 70, 70) * 0.5
    for _ in range(rng.integers(10, 40)):
        disc = np.zeros_like(canvas)
        centre = (int(rng.integers(WIDTH)), int(rng.integers(HEIGHT)))
        cv2.circle(disc, centre, int(rng.integers(4, 30)), (1.0,), -1)
        canvas += cv2.GaussianBlur(disc, (0, 0), 1.5) * float(rng.uniform(0.3, 1.5))
    return canvas


def _lines(rng: np.random.Generator) -> Pixels:
    canvas = _fractal(rng) * 0.4
    for _ in range(rng.integers(8, 40)):
        ends = [(int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))) for _ in range(2)]
        cv2.line(canvas, ends[0], ends[1], (float(rng.normal(0, 1.5)),), int(rng.integers(1, 7)), cv2.LINE_AA)
    return canvas


def _speckle(rng: np.random.Generator) -> Pixels:
    """Stone, plaster and leaves."""
    cell = rng.uniform(2, 12)
    spots = _noise(rng, cell, cell)
    return np.where(spots > rng.uniform(-0.5, 1.0), 1.0, 0.0).astype(np.float32) + 0.4 * _fractal(rng)


_MAKERS = (_fractal, _fractal, _grain, _bricks, _stripes, _shapes, _shapes, _bokeh, _lines, _speckle)
