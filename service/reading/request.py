"""What a request wants read, and how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from service.crop import Crop
from service.errors import ServiceError
from service.image_decoding.decoders import ImageFile
from service.image_decoding.regions import Outline
from service.types import ReadOptions


class ReadRequest(NamedTuple):
    """Image files, and what the client wants of them.

    With `regions`, `images` is one photo, and its crops are these; what is no region is its error.
    `each` is told of crops as they are done, except if something is added when all are: words of a lexicon.
    `detail` is for options that do not say. `timeout_s` is the client's own deadline, in seconds.
    `client_gone` returns when nobody waits any more. `version` and `request_id` say which model reads (see
    Reader.choose).
    """

    images: Sequence[ImageFile]
    options: ReadOptions
    detail: bool = True
    timeout_s: float | None = None
    client_gone: Callable[[], Awaitable[None]] | None = None
    version: str = ""
    request_id: str = ""
    regions: Sequence[Outline | ServiceError] | None = None
    each: Callable[[int, Crop], None] | None = None

    @property
    def crops(self) -> int:
        """How many there are to be read."""
        return len(self.images) if self.regions is None else len(self.regions)
