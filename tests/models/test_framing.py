"""Loose, tight and distant crops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.data.augment import Image, Rng
from models.data.framing import add_margins, cut_tightly, move_away, reframe, shrink

STEPS = (reframe, move_away, add_margins, cut_tightly, shrink)
Step = Callable[[Image, Rng], Image]


def crop(height: int = 30, width: int = 90) -> Image:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("size", [(30, 90), (2, 3), (1, 40), (200, 9)])
def test_the_result_is_always_an_rgb_image(step: Step, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        result = step(crop(*size), rng)
        assert result.dtype == np.uint8
        assert result.ndim == 3
        assert result.shape[2] == 3
        assert min(result.shape) > 0


@pytest.mark.parametrize("step", STEPS)
def test_the_given_crop_is_not_changed(step: Step) -> None:
    given, rng = crop(), np.random.default_rng(0)
    before = given.copy()
    for _ in range(50):
        step(given, rng)
    np.testing.assert_array_equal(given, before)


def test_margins_keep_the_whole_crop_and_are_at_most_as_wide_as_stated() -> None:
    given, rng = crop(), np.random.default_rng(0)
    for _ in range(100):
        result = add_margins(given, rng)
        height, width = result.shape[:2]
        assert 30 <= height <= 30 * 1.8
        assert 90 <= width <= 90 * 3 + 30 * 0.8
        windows = np.lib.stride_tricks.sliding_window_view(result, given.shape)
        assert (windows == given).all(axis=(3, 4, 5)).any()


def test_a_third_of_the_crops_is_framed_anew_and_an_eighth_is_far_away() -> None:
    rng = np.random.default_rng(0)
    reframed = np.mean([reframe(crop(), rng).shape != (30, 90, 3) for _ in range(1000)])
    distant = [move_away(crop(), rng).shape[0] for _ in range(1000)]
    assert reframed == pytest.approx(0.35, abs=0.06)
    assert np.mean(np.array(distant) < 30) == pytest.approx(0.12, abs=0.04)
    assert min(distant) >= 8
    assert all(height == 30 or height <= 16 for height in distant)


def test_a_low_crop_comes_no_nearer() -> None:
    assert shrink(crop(8, 30), np.random.default_rng(0)).shape == (8, 30, 3)
