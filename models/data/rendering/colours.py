"""Colours of ink and ground, RGB 0..255 float32, as signs, screens and paper have them."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

Colour = npt.NDArray[np.float32]
Rng = np.random.Generator
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Reds, yellows, greens and blues: paint and print are not evenly spread round the colour circle.
_SIGN_HUES = (0.0, 0.02, 0.1, 0.15, 0.36, 0.58, 0.63)


def luma(colour: Colour) -> float:
    return float(colour @ LUMA)


def sign_pair(rng: Rng) -> tuple[Colour, Colour]:
    """Ink and ground, of a contrast that is mostly good, sometimes low; now and then dark on dark."""
    dice = rng.random()
    if dice < 0.05:
        ground = random_colour(rng) * np.float32(rng.uniform(0.05, 0.3))
        return shaded(random_colour(rng), luma(ground), rng.uniform(18.0, 45.0)), ground
    ground = random_colour(rng)
    if dice < 0.22:
        # White boards and print.
        ground = np.float32(255.0 - 45.0 * rng.beta(1.0, 2.0)) * (0.9 + ground / np.float32(2550.0))
    return inked(ground, 32.0 + 185.0 * rng.beta(1.9, 1.3), rng), ground


def screen_pair(rng: Rng) -> tuple[Colour, Colour]:
    """Ink and ground of web pages and banners: black and grey on white, white and pastel on a colour."""
    dice = rng.random()
    white = np.full(3, 255.0 - 12.0 * rng.beta(0.5, 2.0), np.float32)
    if dice < 0.4:
        dark = rng.random() < 0.7
        ink = np.full(3, 160.0 * rng.beta(0.7, 1.3), np.float32) if dark else random_colour(rng)
        return (ink if luma(ink) < 200 else ink * np.float32(0.6)), white
    ground = random_colour(rng, vivid=0.6)
    if dice < 0.82:
        return (white if luma(ground) < 190 else np.full(3, rng.uniform(0, 60), np.float32)), ground
    return inked(ground, 40.0 + 150.0 * rng.beta(1.3, 1.3), rng), ground


def paper_pair(rng: Rng) -> tuple[Colour, Colour]:
    """Dark ink on paper, both almost grey; blue and violet ribbons."""
    paper = np.float32(255.0 - 70.0 * rng.beta(0.7, 2.5)) * (1 - rng.uniform(0, 0.04, 3).astype(np.float32))
    if rng.random() < 0.12:
        ink = np.array([0.38, 0.35, 0.75], np.float32) * np.float32(rng.uniform(120, 255))
    else:
        ink = np.full(3, 120.0 * rng.beta(0.6, 2.0), np.float32)
    return ink.astype(np.float32), paper.astype(np.float32)


def inked(ground: Colour, contrast: float, rng: Rng) -> Colour:
    """A colour for letters on this ground that differs from it by `contrast` in brightness or more."""
    for _ in range(6):
        ink = random_colour(rng)
        if abs(float((ink - ground) @ LUMA)) >= contrast:
            return ink
    return shaded(ink, luma(ground), contrast)


def contrasting(colour: Colour, rng: Rng) -> Colour:
    return shaded(random_colour(rng), luma(colour), rng.uniform(50.0, 160.0))


def shaded(colour: Colour, brightness: float, contrast: float) -> Colour:
    """The colour made lighter or darker than `brightness` by `contrast`, whichever side has room."""
    wanted = brightness - contrast if brightness > 127 else brightness + contrast
    return np.clip(colour + np.float32(wanted - luma(colour)), 0, 255)


def random_colour(rng: Rng, vivid: float = 0.3) -> Colour:
    """Near black or white, muted, or, with the chance `vivid`, strong."""
    dice, hue, a, b = rng.random(4)
    if rng.random() < 0.6:
        hue = (_SIGN_HUES[rng.integers(len(_SIGN_HUES))] + 0.1 * (hue - 0.5)) % 1.0
    if dice < vivid:
        value, saturation = 0.35 + 0.65 * a, 0.55 + 0.45 * b
    elif dice < vivid + 0.22:
        value, saturation = 0.15 + 0.8 * a, 0.1 + 0.4 * b
    else:
        value, saturation = 0.5 - 0.5 * np.cos(np.pi * a), 0.12 * b
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * np.float32(255)
