"""Paints the letters of a crop: colours, outlines, shadows, relief and glow on a surface."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

from models.data.backgrounds import Pixels, TextureBank
from models.data.glyphs import Image
from models.data.placing import Placed

Colour = npt.NDArray[np.float32]
# Reds, yellows, greens and blues: paint and print are not evenly spread round the colour circle.
SIGN_HUES = (0.0, 0.02, 0.1, 0.15, 0.36, 0.58, 0.63)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def paint(scene: Placed, bank: TextureBank, rng: np.random.Generator) -> Pixels:
    """(H, W, 3) float32 RGB, about 0..255."""
    height, width = scene.word.shape
    ink_colour, ground_colour = _colour_pair(rng)
    image = bank.surface(height, width, ground_colour, rng)
    if rng.random() < 0.12:
        _draw_edges(image, rng)
    ink = scene.word
    if scene.around.any():
        if rng.random() < 0.85:
            ink = np.maximum(ink, scene.around)
        else:
            _blend(image, _random_colour(rng), _coverage(scene.around))
    if rng.random() < 0.28:
        ink = cv2.dilate(ink, np.ones((2, 2) if rng.random() < 0.6 else (3, 3), np.uint8))
    _draw_behind(image, ink, ink_colour, ground_colour, rng)
    _draw_ink(image, ink, ink_colour, bank, rng)
    return image


def _draw_behind(
    image: Pixels, ink: Image, ink_colour: Colour, ground: Colour, rng: np.random.Generator
) -> None:
    """Shadow, extruded body, glow and outline: what lies under the face of the letters."""
    shadow, body, glow, outline = rng.random(4) < (0.15, 0.07, 0.04, 0.11)
    if shadow:
        dx, dy = rng.integers(-5, 6, 2).tolist()
        soft = _shifted(ink, dx, dy)
        if rng.random() < 0.7:
            soft = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.6, 3.5))
        colour = ground * np.float32(rng.uniform(0.1, 0.7)) if rng.random() < 0.8 else _random_colour(rng)
        _blend(image, colour, _coverage(soft) * np.float32(rng.uniform(0.3, 0.95)))
    if body:
        colour = (
            ink_colour * np.float32(rng.uniform(0.2, 0.75)) if rng.random() < 0.7 else _random_colour(rng)
        )
        _blend(image, colour, _coverage(_extruded(ink, rng)))
    if glow:
        halo = cv2.GaussianBlur(ink, (0, 0), rng.uniform(2.0, 8.0))
        _blend(image, _random_colour(rng), _coverage(halo) * np.float32(rng.uniform(0.5, 1.0)))
    if outline:
        radius = int(rng.integers(1, 5))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        _blend(image, _contrasting(ink_colour, rng), _coverage(cv2.dilate(ink, disc)))


def _draw_ink(image: Pixels, ink: Image, colour: Colour, bank: TextureBank, rng: np.random.Generator) -> None:
    height, width = ink.shape
    hollow, relief, textured, graded = rng.random(4) < (0.02, 0.07, 0.12, 0.08)
    coverage = _coverage(ink)
    fill: Pixels = colour
    if textured:
        fill = colour + bank.piece(height, width, rng)[..., None] * np.float32(rng.uniform(10.0, 50.0))
    if graded:
        ramp = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None, None]
        fill = fill + ramp * rng.normal(0.0, 40.0, 3).astype(np.float32)
    if hollow:
        coverage = coverage - _coverage(
            cv2.erode(ink, np.ones((3, 3), np.uint8), iterations=int(rng.integers(1, 3)))
        )
    if rng.random() < 0.12:
        coverage = coverage * np.float32(rng.uniform(0.6, 0.95))
    _blend(image, fill, coverage)
    if relief:
        _emboss(image, ink, rng)


def _emboss(image: Pixels, ink: Image, rng: np.random.Generator) -> None:
    """Light from one side on raised or sunk edges."""
    soft = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.8, 2.2)).astype(np.float32)
    angle = rng.uniform(0.0, 2 * np.pi)
    slope = np.cos(angle) * cv2.Sobel(soft, cv2.CV_32F, 1, 0) + np.sin(angle) * cv2.Sobel(
        soft, cv2.CV_32F, 0, 1
    )
    image += (slope * np.float32(rng.uniform(0.1, 0.5)))[..., None]


def _draw_edges(image: Pixels, rng: np.random.Generator) -> None:
    """Borders, rules and the edge of the sign, near the rim of the crop."""
    height, width = image.shape[:2]
    colour = tuple(_random_colour(rng).tolist())
    if rng.random() < 0.5:
        reach = int(rng.uniform(0.02, 0.12) * height) + 1
        box = ((0, 0, width, reach), (0, height - reach, width, height), (0, 0, reach, height),
               (width - reach, 0, width, height))[rng.integers(4)]  # fmt: skip
        cv2.rectangle(image, box[:2], box[2:], colour, -1)
    else:
        y = [int(v) for v in rng.uniform(0.0, 0.14, 2) * height]
        if rng.random() < 0.6:
            y = [height - v for v in y]
        cv2.line(image, (0, y[0]), (width, y[1]), colour, int(rng.integers(1, 5)), cv2.LINE_AA)


def _blend(image: Pixels, colour: Pixels, coverage: Pixels) -> None:
    image += (colour - image) * coverage[..., None]


def _coverage(mask: Image) -> Pixels:
    return mask.astype(np.float32) * np.float32(1 / 255)


def _shifted(mask: Image, dx: int, dy: int) -> Image:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(mask, matrix, (mask.shape[1], mask.shape[0]), flags=cv2.INTER_NEAREST)


def _extruded(mask: Image, rng: np.random.Generator) -> Image:
    depth = int(rng.integers(2, 8))
    line = np.zeros((2 * depth + 1, 2 * depth + 1), np.uint8)
    angle = rng.uniform(0.0, 2 * np.pi)
    tip = (depth + round(depth * np.cos(angle)), depth + round(depth * np.sin(angle)))
    cv2.line(line, (depth, depth), tip, (1,))
    return cv2.dilate(mask, line)


def _colour_pair(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Ink and ground, of a contrast that is mostly good and sometimes low."""
    contrast = 32.0 + 170.0 * rng.beta(1.6, 1.3)
    ground = _random_colour(rng)
    for _ in range(6):
        ink = _random_colour(rng)
        if abs(float((ink - ground) @ LUMA)) >= contrast:
            return ink, ground
    return _shaded(ink, float(ground @ LUMA), contrast), ground


def _contrasting(colour: Colour, rng: np.random.Generator) -> Colour:
    return _shaded(_random_colour(rng), float(colour @ LUMA), rng.uniform(50.0, 160.0))


def _shaded(colour: Colour, luma: float, contrast: float) -> Colour:
    """The colour made lighter or darker than `luma` by `contrast`, whichever side has room."""
    wanted = luma - contrast if luma > 127 else luma + contrast
    return np.clip(colour + np.float32(wanted - float(colour @ LUMA)), 0, 255)


def _random_colour(rng: np.random.Generator) -> Colour:
    """RGB 0..255: near black or white, muted, or vivid."""
    dice, hue, a, b = rng.random(4)
    if rng.random() < 0.6:
        hue = (SIGN_HUES[rng.integers(len(SIGN_HUES))] + 0.1 * (hue - 0.5)) % 1.0
    if dice < 0.48:
        value = 0.5 - 0.5 * np.cos(np.pi * a)
        saturation = 0.12 * b
    elif dice < 0.7:
        value, saturation = 0.15 + 0.8 * a, 0.1 + 0.4 * b
    else:
        value, saturation = 0.35 + 0.65 * a, 0.55 + 0.45 * b
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * np.float32(255)
