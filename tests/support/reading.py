"""Reading one crop without HTTP."""

from typing import Any

from service.crop import Crop
from service.image_decoding.decoders import ImageFile
from service.reading.reader import Reader
from service.reading.request import ReadRequest
from service.types import ReadOptions


async def read_one(reader: Reader, image: ImageFile, options: ReadOptions, **wishes: Any) -> Crop:
    """Raises the crop's error."""
    (crop,) = await reader.read(ReadRequest([image], options, **wishes))
    if crop.error is not None:
        raise crop.error
    return crop
