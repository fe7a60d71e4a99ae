"""The training augmentation of ABINet: geometry, deterioration and colour jitter of a crop.

Fang et al., CVPR 2021, section 4.1; the magnitudes and distributions are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.rendering.camera import motion_kernel

# (H, W, 3) uint8 RGB; OpenCV's own annotations know no element types.
Image = npt.NDArray[Any]
Rng = np.random.Generator

DEGREES = 45.0
SCALE = (0.5, 2.0)
SHEAR = (45.0, 15.0)
DISTORTION = 0.5
NOISE_VARIANCE = 20.0
MOTION_LENGTH = 6.0
RESCALE_OCTAVES = 4.0
RESCALE_BASE = (512, 128)
BRIGHTNESS = CONTRAST = SATURATION = 0.5
HUE = 0.1

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)


def augment(image: Image, rng: Rng) -> Image:
    """Changes a crop for training: geometry with probability 0.5, deterioration and colour jitter with 0.25
    each.

    image: (H, W, 3) uint8 RGB, not changed. Returns the same kind of image, its size changed by the geometry.
    """
    if rng.random() < 0.5:
        image = distort(image, rng)
    if rng.random() < 0.25:
        image = deteriorate(image, rng)
    if rng.random() < 0.25:
        image = jitter_colour(image, rng)
    return image


def distort(image: Image, rng: Rng) -> Image:
    """One of rotation, affine map and perspective; pixels beyond the rim repeat the rim."""
    return (rotate, shear, foreshorten)[rng.integers(3)](image, rng)


def rotate(image: Image, rng: Rng) -> Image:
    """Up to 45 degrees, mostly little."""
    return _warp(image, _rotation(_symmetric(rng, DEGREES)), rng)


def shear(image: Image, rng: Rng) -> Image:
    """Rotation up to 45 degrees, scale by 0.5 to 2 and shear up to 45 degrees across and 15 down."""
    turn = _rotation(_symmetric(rng, DEGREES))
    across, down = (np.tan(np.deg2rad(_symmetric(rng, degrees))) for degrees in SHEAR)
    slant = np.array([[1.0, across], [0.0, 1.0]]) @ np.array([[1.0, 0.0], [down, 1.0]])
    return _warp(image, turn @ slant / rng.uniform(*SCALE), rng)


def foreshorten(image: Image, rng: Rng) -> Image:
    """Moves each corner inwards by up to a quarter of the crop, mostly little."""
    height, width = image.shape[:2]
    corners = _corners(width, height)
    inward = np.sign(corners.mean(axis=0) - corners) * _one_sided(rng, DISTORTION / 2, (4, 2))
    target = corners + inward * (width, height)
    target -= target.min(axis=0)
    size = np.maximum(np.ceil(target.max(axis=0)).astype(int), 1)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))
    return cv2.warpPerspective(
        image,
        matrix,
        size.tolist(),
        flags=_interpolation(rng),
        borderMode=cv2.BORDER_REPLICATE,
    )


def deteriorate(image: Image, rng: Rng) -> Image:
    """Noise, motion blur and loss of resolution, all three in random order."""
    return _in_random_order((add_noise, blur_motion, lose_resolution), image, rng)


def add_noise(image: Image, rng: Rng) -> Image:
    """Gaussian, of variance 1 to 20."""
    variance = max(int(_one_sided(rng, NOISE_VARIANCE)), 1)
    return _to_uint8(image + rng.standard_normal(image.shape, np.float32) * np.float32(variance**0.5))


def blur_motion(image: Image, rng: Rng) -> Image:
    """Along a line of 1 to 6 pixels, of any direction."""
    length = max(int(_one_sided(rng, MOTION_LENGTH)), 1)
    return cv2.filter2D(image, -1, motion_kernel(length, rng.uniform(-90.0, 90.0)))


def lose_resolution(image: Image, rng: Rng) -> Image:
    """Down a Gaussian pyramid from 512x128 by up to 4 octaves, and back to the crop's size."""
    octaves = round(rng.uniform(0.0, RESCALE_OCTAVES))
    if octaves == 0:
        return image
    height, width = image.shape[:2]
    coarse = cv2.resize(image, RESCALE_BASE, interpolation=_interpolation(rng))
    for _ in range(octaves):
        coarse = cv2.pyrDown(coarse)
    return cv2.resize(coarse, (width, height), interpolation=_interpolation(rng))


def jitter_colour(image: Image, rng: Rng) -> Image:
    """Brightness, contrast and saturation by 0.5 to 1.5, hue by a tenth of the circle, in random order."""
    return _in_random_order((_brighten, _change_contrast, _saturate, _turn_hue), image, rng)


def _brighten(image: Image, rng: Rng) -> Image:
    return _to_uint8(image * np.float32(1.0 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)))


def _change_contrast(image: Image, rng: Rng) -> Image:
    mean = (image @ _LUMA).mean()
    return _to_uint8(mean + (image - mean) * np.float32(1.0 + rng.uniform(-CONTRAST, CONTRAST)))


def _saturate(image: Image, rng: Rng) -> Image:
    grey = (image @ _LUMA)[..., None]
    return _to_uint8(grey + (image - grey) * np.float32(1.0 + rng.uniform(-SATURATION, SATURATION)))


def _turn_hue(image: Image, rng: Rng) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    # OpenCV's 8-bit hue counts 0..179.
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(rng.uniform(-HUE, HUE) * 180)) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _warp(image: Image, linear: npt.NDArray[np.float64], rng: Rng) -> Image:
    """Maps the crop by a 2x2 matrix onto a canvas that just holds all of it."""
    height, width = image.shape[:2]
    corners = _corners(width, height) @ linear.T
    low = corners.min(axis=0)
    size = np.maximum(np.ceil(corners.max(axis=0) - low).astype(int), 1)
    matrix = np.column_stack([linear, -low])
    return cv2.warpAffine(
        image,
        matrix,
        size.tolist(),
        flags=_interpolation(rng),
        borderMode=cv2.BORDER_REPLICATE,
    )


def _corners(width: int, height: int) -> npt.NDArray[np.float64]:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def _rotation(degrees: float) -> npt.NDArray[np.float64]:
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def _symmetric(rng: Rng, magnitude: float) -> float:
    return (rng.beta(4, 4) - 0.5) * 2 * magnitude


def _one_sided(rng: Rng, magnitude: float, size: tuple[int, ...] | None = None) -> Any:
    return rng.beta(1, 4, size) * magnitude


def _interpolation(rng: Rng) -> int:
    return _INTERPOLATIONS[rng.integers(len(_INTERPOLATIONS))]


def _in_random_order(steps: Sequence[Callable[[Image, Rng], Image]], image: Image, rng: Rng) -> Image:
    for i in rng.permutation(len(steps)):
        image = steps[i](image, rng)
    return image


def _to_uint8(values: Image) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)
