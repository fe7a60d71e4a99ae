"""Decoding, resizing and normalising crops."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
from PIL import Image

from service.engines.bundle import Bundle, BundleError
from service.errors import Problem, ServiceError
from service.image_decoding.preprocess import Preprocessor, decode_image
from service.image_files import look
from tests.support.tiny_service import crop, encoded

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLENTY = 1_000_000


def bundle(**changes: object) -> Bundle:
    options = {"interpolation": "linear", "mean": MEAN, "std": STD, "normalise": True, **changes}
    return cast(Bundle, SimpleNamespace(folder="tiny", width=128, height=32, preprocessing=options))


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_a_crop_is_resized_and_normalised_as_the_manifest_says() -> None:
    rgb = crop()
    resized = cv2.resize(rgb, (128, 32), interpolation=cv2.INTER_LINEAR)
    expected = ((resized / 255 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(Preprocessor(bundle())(rgb), expected, atol=1e-6)


def test_without_normalisation_pixels_only_become_0_to_1() -> None:
    rgb = np.full((5, 9, 3), (0, 51, 255), np.uint8)
    planes = Preprocessor(bundle(normalise=False))(rgb)
    np.testing.assert_allclose(planes[:, 0, 0], [0, 0.2, 1])


@pytest.mark.parametrize("shrink_by_area", [False, True])
@pytest.mark.parametrize("height", [1, 31, 32, 33, 200])
@pytest.mark.parametrize("width", [1, 127, 128, 129, 700])
def test_service_and_training_prepare_a_crop_the_same_way(
    height: int, width: int, shrink_by_area: bool
) -> None:
    from models.preprocessing import Preprocessing

    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    served = Preprocessor(bundle(shrink_by_area=shrink_by_area))(rgb)
    np.testing.assert_allclose(served, Preprocessing(shrink_by_area=shrink_by_area)(rgb), atol=1e-6)


def test_noise_of_a_large_crop_is_averaged_where_the_checkpoint_was_trained_so() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (320, 1280, 3), np.uint8)
    averaged, picked = (
        Preprocessor(bundle(normalise=False, shrink_by_area=by_area))(noisy).std()
        for by_area in (True, False)
    )
    assert averaged < picked / 3


def test_only_the_sides_that_are_too_long_are_shrunk_by_area() -> None:
    rgb = crop()[:, :60].repeat(4, axis=0)  # 96 x 60
    halfway = cv2.resize(rgb, (60, 32), interpolation=cv2.INTER_AREA)
    expected = Preprocessor(bundle())(halfway)
    np.testing.assert_array_equal(Preprocessor(bundle(shrink_by_area=True))(rgb), expected)


def test_a_manifest_that_does_not_speak_of_shrinking_means_none() -> None:
    large = crop().repeat(4, axis=0)
    expected = Preprocessor(bundle(shrink_by_area=False))(large)
    np.testing.assert_array_equal(Preprocessor(bundle())(large), expected)


def test_an_interpolation_that_is_not_known_names_those_that_are() -> None:
    with pytest.raises(BundleError, match="linear"):
        Preprocessor(bundle(interpolation="magic"))


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_a_lossless_image_comes_out_as_rgb(form: str) -> None:
    rgb = crop()
    np.testing.assert_array_equal(decode_image(saved(Image.fromarray(rgb), form), PLENTY), rgb)


def test_a_grey_image_becomes_rgb() -> None:
    grey = crop()[..., 0]
    decoded = decode_image(encoded(grey), PLENTY)
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3, axis=-1))


def test_a_palette_image_becomes_rgb() -> None:
    palette = Image.fromarray(crop()).convert("P")
    np.testing.assert_array_equal(
        decode_image(saved(palette, "PNG"), PLENTY), np.asarray(palette.convert("RGB"))
    )


def test_sixteen_bits_become_eight() -> None:
    deep = np.full((4, 6, 3), 0x8000, np.uint16)
    assert decode_image(encoded(deep), PLENTY).tolist() == np.full((4, 6, 3), 0x80).tolist()


def test_alpha_is_dropped() -> None:
    rgba = np.dstack([crop(), crop(1)[..., 0]])
    np.testing.assert_array_equal(decode_image(saved(Image.fromarray(rgba), "PNG"), PLENTY), rgba[..., :3])


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    body = saved(Image.fromarray(crop()), "JPEG", exif=exif)
    assert decode_image(body, PLENTY).shape == (90, 24, 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_the_header_tells_an_images_size(form: str) -> None:
    assert look(saved(Image.fromarray(crop()), form))[:2] == (90, 24)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0", "lossless": False}])
def test_the_header_tells_the_size_of_every_kind_of_webp(options: dict) -> None:
    assert look(saved(Image.fromarray(crop()), "WEBP", **options))[:2] == (90, 24)


def test_the_header_of_a_progressive_jpeg_tells_its_size() -> None:
    assert look(saved(Image.fromarray(crop()), "JPEG", progressive=True))[:2] == (90, 24)


def test_too_many_pixels_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(ServiceError) as refusal:
        decode_image(encoded(crop()), max_pixels=90 * 24 - 1)
    assert refusal.value.problem is Problem.TOO_MANY_PIXELS


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_every_cut_of_an_image_is_refused_or_read_but_never_an_accident(form: str) -> None:
    body = saved(Image.fromarray(crop()[:6, :8]), form)
    for length in range(len(body)):
        with contextlib.suppress(ServiceError):
            decode_image(body[:length], PLENTY)


@pytest.mark.parametrize("body", [b"", b"GIF89a" + bytes(50), b"<svg/>", b"RIFF1234WAVE"])
def test_any_other_format_is_no_image(body: bytes) -> None:
    with pytest.raises(ServiceError) as refusal:
        decode_image(body, PLENTY)
    assert refusal.value.problem is Problem.NOT_AN_IMAGE


def test_an_image_without_pixels_is_broken() -> None:
    body = bytearray(encoded(crop()))
    body[16:20] = bytes(4)
    with pytest.raises(ServiceError) as refusal:
        decode_image(bytes(body), PLENTY)
    assert refusal.value.problem is Problem.BROKEN_IMAGE
