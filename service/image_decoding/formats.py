"""GIF, AVIF, HEIC and rare TIFF, by the extra `formats`: only for image decoders, which have limits."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from service import image_files
from service.image_files import Picture


def import_decoders() -> None:
    """Imports the decoders that are installed, so that a forked process does not import them for its first
    image.
    """
    for module in image_files.DECODERS.values():
        if image_files.is_installed(module):
            import_module(module)


def pixels_of(picture: Picture) -> np.ndarray:
    """A checked picture -> RGB image (height, width, 3), uint8. Raises BrokenImage."""
    if not picture.form:
        return image_files.pixels_of(picture)
    try:
        image: np.ndarray | None = _DECODERS[picture.form](picture)
    except MemoryError:
        raise
    except Exception:  # they raise anything: OSError, SyntaxError, IndexError, struct.error...
        image = None
    return image_files.finished(image, picture)


def _gif(picture: Picture) -> np.ndarray:
    from PIL import GifImagePlugin

    with GifImagePlugin.GifImageFile(io.BytesIO(picture.content)) as image:
        return _in_opencvs_order(image.convert("RGBA" if "transparency" in image.info else "RGB"))


def _avif(picture: Picture) -> np.ndarray:
    from PIL import AvifImagePlugin, ImageOps

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with AvifImagePlugin.AvifImageFile(io.BytesIO(picture.content)) as image:
        if sorted(image.size) != sorted((picture.width, picture.height)):
            raise ValueError("its pixels have not the size that its header says")
        # Pillow reports mirrors and turns of these formats as an Exif orientation.
        return _in_opencvs_order(ImageOps.exif_transpose(image))


def _heic(picture: Picture) -> np.ndarray:
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False
    image = pillow_heif.open_heif(picture.content, bgr_mode=True)
    _check_size(image.size, picture)
    if image.mode not in ("L", "BGR", "BGRA"):
        return _in_opencvs_order(image.to_pillow())
    return np.array(image)


def _tiff(picture: Picture) -> np.ndarray:
    from PIL import TiffImagePlugin

    with TiffImagePlugin.TiffImageFile(io.BytesIO(picture.content)) as image:
        _check_size(image.size, picture)
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)
        return _in_opencvs_order(image)


_DECODERS: dict[str, Callable[[Picture], np.ndarray]] = {
    "GIF": _gif,
    "AVIF": _avif,
    "HEIC": _heic,
    "Zstandard TIFF": _tiff,
    "LZMA TIFF": _tiff,
}


def _check_size(size: tuple[int, int], picture: Picture) -> None:
    """Before the pixels are decoded. Raises ValueError if they are more or fewer than the header says."""
    if size != (picture.width, picture.height):
        raise ValueError("its pixels have not the size that its header says")


def _in_opencvs_order(image: Any) -> np.ndarray:
    """A picture of Pillow's -> BGR or BGRA."""
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA" if "A" in image.mode else "RGB")
    code = cv2.COLOR_RGBA2BGRA if image.mode == "RGBA" else cv2.COLOR_RGB2BGR
    return cv2.cvtColor(np.asarray(image), code)
