"""Photographs to put behind letters: a folder's, by default those of Debian's wallpaper packages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from models.data.rendering.glyphs import Image

#: Where Debian's wallpaper packages put their pictures; docs/data.md names the packages and their terms.
FOLDERS = tuple(
    map(Path, ("/usr/share/backgrounds", "/usr/share/wallpapers", "/usr/share/mypaint/backgrounds"))
)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
#: Pictures are kept at this size, about 1 pixel of a wallpaper for 4.
HEIGHT = 320
_LARGEST_FILE = 6_000_000
_SMALLEST_FILE = 20_000


def find_photographs(folders: Sequence[Path] | None = None) -> list[Path]:
    """Pictures to draw on, sorted, one of those that lie together under one name in several sizes.

    folders: where to look, recursively; None takes those of Debian's wallpaper packages that are there.

    Raises: ValueError if a named folder holds no picture.
    """
    found: dict[tuple[Path, str], Path] = {}
    for folder in FOLDERS if folders is None else folders:
        pictures = sorted(path for path in folder.rglob("*") if _is_picture(path))
        if not pictures and folders is not None:
            raise ValueError(
                f"{folder}: no .jpg, .png or .webp picture of 20 kB to 6 MB; name a folder of photographs"
            )
        for path in pictures:
            found.setdefault((path.parent, path.stem.rstrip("0123456789x_-")), path)
    return sorted(found.values())


def load_photograph(path: Path) -> Image:
    """(H, W, 3) uint8 RGB, H at most HEIGHT.

    Raises: ValueError if the file is no picture.
    """
    try:
        with PillowImage.open(path) as image:
            image.thumbnail((4 * HEIGHT, HEIGHT))
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, PillowImage.DecompressionBombError):
        raise ValueError(
            f"{path}: cannot be read as a picture; remove it from the folder of photographs"
        ) from None


def _is_picture(path: Path) -> bool:
    return (
        path.suffix.lower() in SUFFIXES
        and not path.is_symlink()
        and path.stem != "screenshot"
        and _SMALLEST_FILE <= path.stat().st_size <= _LARGEST_FILE
    )
