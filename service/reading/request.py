"""What a request wants read, and how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from service.crop import Crop
from service.errors import ServiceError
from service.image_decoding.decoders import ImageFile
from service.image_decoding.regions import Quad
from service.types import ReadOptions


class ReadRequest(NamedTuple):
    """Image files, and how the client wants them read.

    With `regions`, `images` is one photo and the regions are its crops; a region that cannot be cut is its
    error. `each` is called with each crop when it is done, except if a lexicon or alternatives are added at
    the end. `detail` is for options that do not say. `timeout_s` is the client's own deadline, in seconds.
    `client_gone` returns when the client has hung up. `version` and `request_id` say which model reads (see
    Reader.choose).
    """

    images: Sequence[ImageFile]
    options: ReadOptions
    detail: bool = True
    timeout_s: float | None = None
    client_gone: Callable[[], Awaitable[None]] | None = None
    version: str = ""
    request_id: str = ""
    regions: Sequence[Quad | ServiceError] | None = None
    each: Callable[[int, Crop], None] | None = None

    @property
    def crops(self) -> int:
        """The number of crops."""
        return len(self.images) if self.regions is None else len(self.regions)
