"""Width and height of an image after it is decoded and turned by its orientation."""

from __future__ import annotations

from service.image_files.exif import is_on_its_side
from service.image_files.look import look


def upright_size(body: bytes) -> tuple[int, int]:
    """Width and height in pixels that an image file's first image has when it is decoded.

    Raises NotAnImage, BrokenImage (see look).
    """
    picture = look(body)
    size = picture.width, picture.height
    return size[::-1] if is_on_its_side(picture.orientation) else size
