"""Decoding, resizing and normalising crops."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageDraw, ImageOps

from models.data.sets.samples import decode_crop
from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.errors import ProblemType, ServiceError
from service.image_decoding.preprocess import Preprocessor, decode_image
from service.image_files import NotAnImage, decode, look, upright_size
from tests.support.hostile_images import chunk
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


@pytest.mark.parametrize("height", [1, 31, 32, 33, 200])
@pytest.mark.parametrize("width", [1, 127, 128, 129, 700])
def test_a_crop_is_resized_and_normalised_as_the_manifest_says(height: int, width: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    resized = cv2.resize(rgb, (128, 32), interpolation=cv2.INTER_LINEAR)
    expected = ((resized / 255 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(Preprocessor(bundle())(rgb), expected, atol=1e-6)


def test_without_normalisation_pixels_only_become_0_to_1() -> None:
    rgb = np.full((5, 9, 3), (0, 51, 255), np.uint8)
    planes = Preprocessor(bundle(normalise=False))(rgb)
    np.testing.assert_allclose(planes[:, 0, 0], [0, 0.2, 1])


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interpolation": "magic"}, "unknown interpolation 'magic'; known: linear, cubic"),
        ({"std": [0.2, 0.2, 0.0]}, "std above 0"),
        ({"mean": [0.5, 0.5, "red"]}, "cannot be done"),
        ({"mean": 0.5}, "cannot be done"),
        ({"gamma": 2.2}, "gamma"),
    ],
)
def test_a_manifest_that_asks_for_what_is_not_known_is_refused_and_says_why(
    options: dict[str, object], said: str
) -> None:
    with pytest.raises(BundleError, match=re.escape(said)):
        Preprocessor(bundle(**options))


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


def lettering(shade: int) -> Image.Image:
    """Letters of one shade on a transparent ground of the same colour, as drawing programs save them."""
    image = Image.new("RGBA", (90, 24), (shade, shade, shade, 0))
    ImageDraw.Draw(image).text((5, 5), "Harbour", fill=(shade, shade, shade, 255))
    return image


TRANSPARENT: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG": lambda image: saved(image, "PNG"),
    "grey PNG": lambda image: saved(image.convert("LA"), "PNG"),
    "palette PNG": lambda image: saved(image.quantize(16), "PNG"),
    "16-bit PNG": lambda image: encoded(np.asarray(image, np.uint16) * 257),
    "lossless WebP": lambda image: saved(image, "WEBP", lossless=True, exact=True),
    "lossy WebP": lambda image: saved(image, "WEBP", quality=95),
    "TIFF": lambda image: saved(image, "TIFF"),
    "compressed TIFF": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
    "16-bit TIFF": lambda image: cv2.imencode(".tiff", np.asarray(image, np.uint16) * 257)[1].tobytes(),
    "BMP": lambda image: saved(image, "BMP"),
}


@pytest.mark.parametrize(("shade", "ground"), [(0, 255), (100, 255), (180, 0), (255, 0)])
@pytest.mark.parametrize("form", TRANSPARENT)
def test_what_is_transparent_gets_the_ground_on_which_the_rest_stands_out(
    form: str, shade: int, ground: int
) -> None:
    image = lettering(shade)
    expected = Image.new("RGBA", image.size, (ground, ground, ground, 255))
    expected.alpha_composite(image)
    decoded = decode_image(TRANSPARENT[form](image), PLENTY)
    tolerance = 48 if form in ("lossy WebP", "palette PNG") else 2
    np.testing.assert_allclose(decoded, np.asarray(expected.convert("RGB")), atol=tolerance)


@pytest.mark.parametrize("alpha", [0, 255])
@pytest.mark.parametrize("form", ["PNG", "BMP"])
def test_alpha_that_is_everywhere_the_same_means_nothing(form: str, alpha: int) -> None:
    rgba = np.dstack([crop(), np.full(crop().shape[:2], alpha, np.uint8)])
    np.testing.assert_array_equal(decode_image(saved(Image.fromarray(rgba), form), PLENTY), rgba[..., :3])


def test_training_and_evaluation_see_the_same_ground() -> None:
    body = saved(lettering(0), "PNG")
    np.testing.assert_array_equal(decode_crop(body), decode_image(body, PLENTY))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_orientation_is_applied_in_every_format_that_has_one(form: str, orientation: int) -> None:
    image = Image.fromarray(crop().repeat(2, axis=0).repeat(2, axis=1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"lossless": True} if form == "WEBP" else {}
    options["tiffinfo" if form == "TIFF" else "exif"] = {0x0112: orientation} if form == "TIFF" else exif
    body = saved(image, form, **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("RGB")
    decoded = decode_image(body, PLENTY)
    np.testing.assert_allclose(decoded, np.asarray(expected), atol=4 if form == "JPEG" else 0)
    assert upright_size(body) == expected.size


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("form", [".png", ".tiff"])
def test_fewer_bits_in_sixteen_are_stretched(form: str, bits: int) -> None:
    shades = crop().astype(int) * ((1 << bits) - 1) // crop().max()
    _, body = cv2.imencode(form, shades[..., ::-1].astype(np.uint16))
    expected = crop().astype(float) * 255 / crop().max()
    np.testing.assert_allclose(decode_image(body.tobytes(), PLENTY), expected, atol=1.5)


def test_a_jpeg_with_stray_bytes_before_a_marker_is_read() -> None:
    whole = saved(Image.fromarray(crop()), "JPEG")
    tables = whole.index(b"\xff\xdb")
    for at in (2, tables):
        strays = whole[:at] + b"\0\x17" + whole[at:]
        np.testing.assert_array_equal(decode_image(strays, PLENTY), decode_image(whole, PLENTY))


def apples(body: bytes) -> bytes:
    return body[:8] + chunk(b"CgBI", b"\x50\0\x20\x06") + body[8:]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"%PDF-1.7", "a PDF document, which is not read here: save the page as PNG"),
        (apples(saved(lettering(0), "PNG")), "Apple's own kind (CgBI), made for apps; save it as PNG"),
        (
            saved(lettering(0).convert("RGBA"), "TIFF", compression="zstd"),
            "of this compression only grey of 8 or 16 bits and RGB of 8 are read",
        ),
        (saved(Image.fromarray(crop()), "TIFF", compression="jpeg"), "compression JPEG is not read here"),
        (
            saved(Image.fromarray(crop()[..., 0].astype(np.float32)), "TIFF"),
            "its samples are signed or floating-point numbers",
        ),
        (saved(lettering(0).convert("LA"), "TIFF"), "it is grey with alpha, not read here; save it as PNG"),
    ],
)
def test_what_is_not_read_is_named_with_the_remedy(body: bytes, said: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        decode_image(body, PLENTY)
    assert said in str(refusal.value)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB"])
@pytest.mark.parametrize("how", [{"big_tiff": True}, {"compression": "zstd"}, {"compression": "lzma"}])
def test_a_big_tiff_or_one_of_a_rarer_compression_reads_as_any_tiff(mode: str, how: dict[str, Any]) -> None:
    shades = crop()[..., 0].astype(np.uint16) * 257
    image = Image.fromarray(shades) if mode == "I;16" else Image.fromarray(crop()).convert(mode)
    expected = decode_image(saved(image, "TIFF"), PLENTY)
    np.testing.assert_array_equal(decode_image(saved(image, "TIFF", **how), PLENTY), expected)


def high_efficiency(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90, **options)
    return file.getvalue()


FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "GIF": lambda image: saved(image, "GIF"),
    "AVIF": lambda image: saved(image, "AVIF", quality=95),
    "HEIC": high_efficiency,
}
"""Of the extra `formats`."""


@pytest.mark.parametrize("form", FORMATS)
def test_the_extra_reads_gif_avif_and_heic(form: str) -> None:
    image = lettering(0)
    expected = Image.new("RGBA", image.size, "white")
    expected.alpha_composite(image)
    body = FORMATS[form](image)
    assert upright_size(body) == image.size
    difference = decode_image(body, PLENTY).astype(int) - np.asarray(expected.convert("RGB"))
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("form", ["AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_and_mirrors_of_avif_and_heic_are_applied(form: str, orientation: int) -> None:
    ground = Image.new("RGBA", (90, 24), "white")
    image = Image.alpha_composite(ground, lettering(0)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} if form == "AVIF" else {"exif": exif.tobytes()}
    body = saved(image, "AVIF", **options) if form == "AVIF" else high_efficiency(image, **options)
    image.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(image)
    assert upright_size(body) == expected.size
    decoded = decode_image(body, PLENTY).astype(int)
    assert np.abs(decoded - np.asarray(expected)).mean() < 12


def test_of_an_animated_gif_the_first_frame_is_read() -> None:
    first, second = Image.new("RGB", (9, 5), "red"), Image.new("RGB", (9, 5), "blue")
    body = saved(first, "GIF", save_all=True, append_images=[second])
    assert len(look(body).content) < len(body)
    assert decode_image(body, PLENTY).tolist() == np.asarray(first).tolist()


def test_of_an_avif_that_is_a_film_a_decoder_sees_the_still_alone() -> None:
    first, second = Image.new("RGB", (32, 16), "red"), Image.new("RGB", (32, 16), "blue")
    body = saved(first, "AVIF", save_all=True, append_images=[second])
    assert b"moov" in body
    assert b"moov" not in look(body).content
    np.testing.assert_allclose(decode_image(body, PLENTY), np.asarray(first), atol=8)


@pytest.mark.parametrize("form", FORMATS)
def test_without_its_decoder_a_format_is_named_with_the_extra(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["service.image_files.look"], "is_installed", lambda module: False)
    with pytest.raises(
        ServiceError, match=rf"an? {form} image: install the extra `formats` .* save it as PNG"
    ):
        decode_image(FORMATS[form](lettering(0)), PLENTY)


@pytest.mark.parametrize("form", FORMATS)
def test_training_and_evaluation_leave_the_extras_formats_to_the_service(form: str) -> None:
    with pytest.raises(NotAnImage, match=f"{form} images are read by the service alone: save it as PNG"):
        decode(FORMATS[form](lettering(0)))


@pytest.mark.parametrize("form", FORMATS)
def test_too_many_pixels_are_refused_before_a_decoder_of_the_extra_sees_them(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.image_decoding.formats._DECODERS", {})
    with pytest.raises(ServiceError) as refusal:
        decode_image(FORMATS[form](lettering(0)), max_pixels=90 * 24 - 1)
    assert refusal.value.problem is ProblemType.TOO_MANY_PIXELS


@pytest.mark.parametrize("form", FORMATS)
def test_every_cut_of_the_extras_formats_is_refused_or_read_but_never_an_accident(form: str) -> None:
    body = FORMATS[form](lettering(0).convert("RGB"))
    for length in range(0, len(body), 3):
        with contextlib.suppress(ServiceError):
            decode_image(body[:length], PLENTY)


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
    assert refusal.value.problem is ProblemType.TOO_MANY_PIXELS


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_every_cut_of_an_image_is_refused_or_read_but_never_an_accident(form: str) -> None:
    body = saved(Image.fromarray(crop()[:6, :8]), form)
    for length in range(len(body)):
        with contextlib.suppress(ServiceError):
            decode_image(body[:length], PLENTY)


@pytest.mark.parametrize("body", [b"", b"Harbour", b"<svg/>", b"RIFF1234WAVE"])
def test_any_other_format_is_no_image(body: bytes) -> None:
    with pytest.raises(ServiceError) as refusal:
        decode_image(body, PLENTY)
    assert refusal.value.problem is ProblemType.NOT_AN_IMAGE


def test_an_image_without_pixels_is_broken() -> None:
    body = bytearray(encoded(crop()))
    body[16:20] = bytes(4)
    with pytest.raises(ServiceError) as refusal:
        decode_image(bytes(body), PLENTY)
    assert refusal.value.problem is ProblemType.BROKEN_IMAGE
