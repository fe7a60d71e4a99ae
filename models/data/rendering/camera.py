"""The effects of light, lens, sensor and storage on a crop, called in their natural order."""

from __future__ import annotations

import cv2
import numpy as np

from models.data.rendering.backgrounds import Pixels, TextureBank
from models.data.rendering.glyphs import Image
from models.data.rendering.texts import weighted

Rng = np.random.Generator
LOWEST, HIGHEST = 8, 128


def photograph(scene: Pixels, tallness: float, bank: TextureBank, rng: Rng) -> Image:
    """(H, W, 3) float32 about 0..255 -> (h, w, 3) uint8 at the size of a real crop, 8 to 128 pixels high.

    ``tallness``: the scene's height by that of the letters; a word that is turned or bent has a higher crop.
    """
    image = _blur(_light(scene, bank, rng), rng)
    natural = np.exp(rng.normal(np.log(31.0), 0.5)) * np.clip(tallness / 1.3, 1.0, 3.0)
    if rng.random() < 0.14:
        # Enlarged by whoever published it.
        image = _shrunk(image, rng.uniform(9.0, 22.0) * np.clip(tallness / 1.3, 1.0, 2.0))
    image = _sense(_legible(_sized(image, natural), rng), rng)
    return _stored(image, rng, jpeg=0.6, quality=(10, 96))


def screenshot(scene: Pixels, tallness: float, bank: TextureBank, rng: Rng) -> Image:
    """The same for text drawn by a computer: small, smoothed by its resampling, colour-fringed, compressed.

    A scene of less than 30 pixels keeps its size: its letters were drawn at that size.
    """
    image = scene
    if scene.shape[0] >= 30:
        natural = np.exp(rng.normal(np.log(15.0), 0.5)) * np.clip(tallness / 1.2, 1.0, 2.0)
        if rng.random() < 0.2:
            image = _fringed(image, image.shape[0] / natural / 3)
        # Some programs shrink without smoothing.
        image = _sized(image, natural, shrinking=cv2.INTER_LINEAR if rng.random() < 0.12 else cv2.INTER_AREA)
    elif rng.random() < 0.25:
        image = _sized(image, image.shape[0] * rng.uniform(0.75, 2.2))
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    if rng.random() < 0.15:
        image = _sharpened(image, rng)
    if rng.random() < 0.08:
        # A palette of few colours.
        step = np.float32(weighted(rng, ((16.0, 0.4), (32.0, 0.4), (51.0, 0.2))))
        image = np.round(image / step) * step
    return _stored(_legible(_at_least(image), rng), rng, jpeg=0.75, quality=(45, 99))


def scan(scene: Pixels, tallness: float, bank: TextureBank, rng: Rng) -> Image:
    """The same for paper under a scanner or a telephone: grey veils, white-out, jagged bilevel edges."""
    image = _shaded(scene, rng) if rng.random() < 0.1 else scene
    gain = np.float32(rng.uniform(0.95, 1.3) if rng.random() < 0.75 else rng.uniform(0.35, 0.95))
    paper = np.float32(image.max())
    image = paper - (paper - image) * gain
    natural = np.exp(rng.normal(np.log(30.0), 0.42)) * np.clip(tallness / 1.3, 1.0, 2.0)
    if rng.random() < 0.5:
        image = _shrunk(image, rng.uniform(10.0, 24.0) * np.clip(tallness / 1.3, 1.0, 2.0))
    if rng.random() < 0.12:
        middle = (image.max() + image.min()) / 2
        image = np.where(image > middle, image.max(), image.min()).astype(np.float32)
    image = _sized(image, natural, cv2.INTER_CUBIC)
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.2:
        image = _sharpened(image, rng)
    if rng.random() < 0.35:
        image = _noisy(image, rng)
    return _stored(_legible(image, rng), rng, jpeg=0.7, quality=(20, 96))


def _light(scene: Pixels, bank: TextureBank, rng: Rng) -> Pixels:
    height, width = scene.shape[:2]
    if rng.random() < 0.25:
        scene = _shaded(scene, rng)
    if rng.random() < 0.06:
        # Shadows of leaves and wires.
        scene = scene * (1.0 - rng.uniform(0.1, 0.4) * (1.0 + bank.piece(height, width, rng)))[..., None]
    if rng.random() < 0.07:
        glare = np.zeros((height, width), np.float32)
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(glare, centre, int(rng.uniform(0.1, 0.5) * height) + 1, (float(rng.uniform(60, 260)),), -1)
        scene = scene + cv2.GaussianBlur(glare, (0, 0), 0.25 * height)[..., None]
    dice = rng.random()
    if dice < 0.06:
        # Night: little light, of some lamp's colour.
        lamp = 1.0 - np.array([0.0, 0.25, 0.6], np.float32) * np.float32(rng.uniform(-0.2, 1.0))
        scene = scene * (lamp * np.float32(rng.uniform(0.12, 0.45)))
    elif dice < 0.5:
        # Exposure and haze: real crops are seldom of full contrast.
        gain = 0.32 + 0.78 * rng.beta(1.8, 0.9)
        haze = rng.uniform(0.0, 1.0) * 255.0 * max(0.0, 1.0 - gain) * 0.8
        scene = scene * np.float32(gain) + np.float32(haze)
    elif dice < 0.58:
        # Overexposed: what is bright runs together.
        scene = scene * np.float32(rng.uniform(1.1, 1.55))
    if rng.random() < 0.25:
        # White balance.
        scene = scene * rng.uniform(0.8, 1.15, 3).astype(np.float32)
    if rng.random() < 0.06:
        scene = np.repeat(scene.mean(axis=2, keepdims=True), 3, axis=2)
    return scene


def _shaded(scene: Pixels, rng: Rng) -> Pixels:
    """Light that falls off across the crop."""
    height, width = scene.shape[:2]
    left, right, top, bottom = rng.uniform(0.45, 1.2, 4)
    across = np.linspace(left, right, width, dtype=np.float32)[None, :, None]
    down = np.linspace(top, bottom, height, dtype=np.float32)[:, None, None]
    return scene * (across * down)


def _blur(image: Pixels, rng: Rng) -> Pixels:
    dice = rng.random()
    if dice < 0.38:
        return cv2.GaussianBlur(image, (0, 0), 0.5 + 2.4 * rng.beta(1.0, 2.0))
    if dice < 0.46:
        return cv2.filter2D(image, -1, motion_kernel(int(rng.integers(3, 10)), rng.uniform(0, 180)))
    if dice < 0.51:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(rng.integers(1, 3)) + 1,) * 2)
        return cv2.filter2D(image, -1, disc.astype(np.float32) / disc.sum())
    return image


def motion_kernel(length: int, angle: float) -> Pixels:
    """(length, length) float32 of sum 1: a line through the middle, angle in degrees."""
    kernel: Pixels = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1.0
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return kernel / max(float(kernel.sum()), 1e-6)


def _sized(
    image: Pixels, height: float, enlarging: int = cv2.INTER_LINEAR, shrinking: int = cv2.INTER_AREA
) -> Pixels:
    """At `height` pixels, or the nearest that a crop has."""
    scale = float(np.clip(height, LOWEST, HIGHEST)) / image.shape[0]
    size = (max(4, round(image.shape[1] * scale)), max(LOWEST, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=shrinking if scale < 1 else enlarging)


def _shrunk(image: Pixels, height: float) -> Pixels:
    """At `height` pixels if it is higher."""
    return _sized(image, height) if height < image.shape[0] else image


def _at_least(image: Pixels) -> Pixels:
    return image if image.shape[0] >= LOWEST else _sized(image, LOWEST)


def _fringed(image: Pixels, offset: float) -> Pixels:
    """Sub-pixel rendering: shifts red and blue by a third of a screen's pixel to either side."""
    image = image.copy()
    for channel, sign in ((0, 1), (2, -1)):
        image[..., channel] = np.roll(image[..., channel], sign * max(1, round(offset)), axis=1)
    return image


def _legible(image: Pixels, rng: Rng) -> Pixels:
    """The crop with some contrast left, because several rare effects together could make a blank crop."""
    grey, least = image.mean(axis=2), rng.uniform(8.0, 16.0)
    if float(np.clip(grey, 0.0, 255.0).std()) >= least:
        return image
    mean = float(grey.mean())
    gain = least / max(float(grey.std()), 1.0)
    return (image - np.float32(mean)) * np.float32(gain) + np.float32(
        np.clip(mean, 2 * least, 255 - 2 * least)
    )


def _sense(image: Pixels, rng: Rng) -> Pixels:
    if rng.random() < 0.08:
        image = _sharpened(image, rng)
    if rng.random() < 0.35:
        image = _noisy(image, rng)
    if rng.random() < 0.01:
        image = image.copy()
        image[::2] *= rng.uniform(0.6, 0.9)
    return image


def _sharpened(image: Pixels, rng: Rng) -> Pixels:
    soft = cv2.GaussianBlur(image, (0, 0), 1.0)
    return image + (image - soft) * np.float32(rng.uniform(0.5, 2.5))


def _noisy(image: Pixels, rng: Rng) -> Pixels:
    channels = 3 if rng.random() < 0.5 else 1
    sigma = np.float32(14.0 * rng.beta(1.0, 2.5) + 0.5)
    return image + rng.standard_normal((*image.shape[:2], channels), np.float32) * sigma


def _stored(image: Pixels, rng: Rng, jpeg: float, quality: tuple[int, int]) -> Image:
    """The crop as uint8; with the probability `jpeg`, after compression as a JPEG of some quality."""
    stored = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() >= jpeg:
        return stored
    bgr = cv2.cvtColor(stored, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*quality))])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
