"""What light, lens, sensor and storage do to a crop; the order of the calls is the order of the world."""

from __future__ import annotations

import cv2
import numpy as np

from models.data.backgrounds import Pixels, TextureBank
from models.data.glyphs import Image


def photograph(scene: Pixels, bank: TextureBank, rng: np.random.Generator) -> Image:
    """(H, W, 3) float32 about 0..255 -> (h, w, 3) uint8 at the size of a real crop, 11..128 pixels high."""
    image = _blur(_light(scene, bank, rng), rng)
    image = _to_natural_size(image, rng)
    image = _sense(image, rng)
    stored = np.clip(image, 0, 255).astype(np.uint8)
    return _compress(stored, rng) if rng.random() < 0.5 else stored


def _light(scene: Pixels, bank: TextureBank, rng: np.random.Generator) -> Pixels:
    height, width = scene.shape[:2]
    if rng.random() < 0.2:
        left, right, top, bottom = rng.uniform(0.55, 1.2, 4)
        across = np.linspace(left, right, width, dtype=np.float32)[None, :, None]
        down = np.linspace(top, bottom, height, dtype=np.float32)[:, None, None]
        scene = scene * (across * down)
    if rng.random() < 0.06:
        # Shadows of leaves and wires.
        scene = scene * (1.0 - rng.uniform(0.1, 0.35) * (1.0 + bank.piece(height, width, rng)))[..., None]
    if rng.random() < 0.04:
        glare = np.zeros((height, width), np.float32)
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(glare, centre, int(rng.uniform(0.1, 0.4) * height) + 1, (float(rng.uniform(60, 200)),), -1)
        scene = scene + cv2.GaussianBlur(glare, (0, 0), 0.25 * height)[..., None]
    if rng.random() < 0.45:
        # Exposure and haze: real crops are seldom of full contrast.
        gain = 0.4 + 0.7 * rng.beta(1.6, 1.0)
        scene = scene * np.float32(gain) + np.float32(
            rng.uniform(0.0, 1.0) * 255.0 * max(0.0, 1.0 - gain) * 0.8
        )
    if rng.random() < 0.07:
        scene = np.repeat(scene.mean(axis=2, keepdims=True), 3, axis=2)
    return scene


def _blur(image: Pixels, rng: np.random.Generator) -> Pixels:
    dice = rng.random()
    if dice < 0.35:
        sigma = 0.5 + 2.3 * rng.beta(1.0, 2.2)
        return cv2.GaussianBlur(image, (0, 0), sigma)
    if dice < 0.41:
        return cv2.filter2D(image, -1, motion_kernel(int(rng.integers(3, 10)), rng.uniform(0, 180)))
    if dice < 0.45:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(rng.integers(1, 4)) + 1,) * 2)
        return cv2.filter2D(image, -1, disc.astype(np.float32) / disc.sum())
    return image


def motion_kernel(length: int, angle: float) -> Pixels:
    """(length, length) float32 of sum 1: a line through the middle, angle in degrees."""
    kernel: Pixels = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1.0
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return kernel / max(float(kernel.sum()), 1e-6)


def _to_natural_size(image: Pixels, rng: np.random.Generator) -> Pixels:
    natural = float(np.clip(np.exp(rng.normal(np.log(34.0), 0.52)), 11.0, 128.0))
    if rng.random() < 0.12:
        # Enlarged by whoever published it.
        coarse = rng.uniform(11.0, 24.0)
        image = _resize(image, coarse / image.shape[0])
    return _resize(image, natural / image.shape[0])


def _resize(image: Pixels, scale: float) -> Pixels:
    height, width = image.shape[:2]
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _sense(image: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    if rng.random() < 0.08:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = image + (image - soft) * np.float32(rng.uniform(0.5, 2.5))
    if rng.random() < 0.35:
        channels = 3 if rng.random() < 0.5 else 1
        sigma = np.float32(12.0 * rng.beta(1.0, 2.5) + 0.5)
        image = image + rng.standard_normal((height, width, channels), np.float32) * sigma
    if rng.random() < 0.01:
        image = image.copy()
        image[::2] *= rng.uniform(0.6, 0.9)
    return image


def _compress(image: Image, rng: np.random.Generator) -> Image:
    quality = int(rng.integers(25, 96))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
