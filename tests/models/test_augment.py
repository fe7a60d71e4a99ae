"""The training augmentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.data import augment as augmentation
from models.data.augment import Image, Rng, augment

GEOMETRY = (augmentation.rotate, augmentation.shear, augmentation.foreshorten)
Step = Callable[[Image, Rng], Image]


@pytest.fixture
def crop() -> Image:
    return np.random.default_rng(5).integers(0, 256, (24, 80, 3), dtype=np.uint8)


def plain(level: int) -> Image:
    return np.full((24, 80, 3), level, np.uint8)


def test_the_same_generator_state_gives_the_same_pixels(crop: Image) -> None:
    once, again = (
        [augment(crop, rng) for rng in [np.random.default_rng(3)] for _ in range(20)] for _ in range(2)
    )
    assert all(map(np.array_equal, once, again))


def test_the_given_crop_is_not_changed(crop: Image) -> None:
    before, rng = crop.copy(), np.random.default_rng(0)
    for _ in range(100):
        augment(crop, rng)
    assert np.array_equal(crop, before)


def test_the_result_is_always_an_rgb_image(crop: Image) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        result = augment(crop, rng)
        assert result.dtype == np.uint8
        assert result.ndim == 3
        assert result.shape[2] == 3
        assert min(result.shape) > 0


def test_a_crop_stays_untouched_with_the_probabilities_of_the_method(crop: Image) -> None:
    rng = np.random.default_rng(0)
    untouched = np.mean([augment(crop, rng) is crop for _ in range(2000)])
    assert untouched == pytest.approx(0.5 * 0.75 * 0.75, abs=0.03)


@pytest.mark.parametrize("step", GEOMETRY)
def test_geometry_fills_what_was_beyond_the_rim_with_the_rim(step: Step) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert np.unique(step(plain(90), rng)).tolist() == [90]


def test_rotation_keeps_the_whole_crop() -> None:
    image, rng = plain(0), np.random.default_rng(0)
    image[0, 0] = image[0, -1] = image[-1, 0] = image[-1, -1] = 255
    for _ in range(20):
        turned = augmentation.rotate(image, rng)
        assert turned.shape[0] >= 24
        assert turned.max() > 60


def test_affine_maps_scale_by_a_half_to_two() -> None:
    rng = np.random.default_rng(0)
    areas = [np.prod(augmentation.shear(plain(0), rng).shape[:2]) / (24 * 80) for _ in range(300)]
    assert min(areas) < 0.6
    assert max(areas) > 3


def test_noise_has_a_variance_of_1_to_20() -> None:
    rng = np.random.default_rng(0)
    variances = [augmentation.add_noise(plain(128), rng).astype(float).var() for _ in range(200)]
    assert min(variances) > 0.5
    assert 4 < max(variances) < 22


def test_motion_blur_keeps_the_brightness_of_a_plain_crop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert np.unique(augmentation.blur_motion(plain(90), rng)).tolist() == [90]


def test_loss_of_resolution_keeps_the_size_and_removes_detail(crop: Image) -> None:
    rng = np.random.default_rng(0)
    results = [augmentation.lose_resolution(crop, rng) for _ in range(30)]
    assert {result.shape for result in results} == {crop.shape}
    assert min(result.std() for result in results) < 0.3 * crop.std()


def test_colour_jitter_keeps_grey_crops_grey() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        result = augmentation.jitter_colour(plain(120), rng).astype(int)
        assert np.ptp(result, axis=2).max() <= 1


def test_colour_jitter_changes_brightness_by_up_to_a_half_and_more_with_contrast() -> None:
    rng = np.random.default_rng(0)
    levels = [augmentation.jitter_colour(plain(100), rng).mean() for _ in range(300)]
    assert 48 < min(levels) < 60
    assert 140 < max(levels) < 152
