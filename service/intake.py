"""From image files to network inputs, as fast as the cores allow and without holding up the event loop."""

from __future__ import annotations

import asyncio
import base64
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from service.errors import Problem, ServiceError
from service.image_header import image_size
from service.preprocess import Preprocessor, decode_image
from service.scheduler import Crop

ImageFile = bytes | str
"""A file's bytes, or these in base64."""

_SMALL_PIXELS = 1 << 16
"""So few are decoded on the event loop: a thread would only take turns with it."""
_SHARE = 16
"""Small images decoded at a stretch, about 2 ms: then what else has happened has its turn."""
_HEAD_CHARACTERS = 1 << 14
"""Enough base64 to find the size of nearly every image."""

_Arrival = tuple[Crop, ImageFile]


class Intake:
    """Gives every crop its image, or the error that it has none, and then calls `ready`.

    Small images are decoded in the order in which they came, a few at a stretch, large ones in threads.
    """

    def __init__(
        self, preprocess: Preprocessor, max_pixels: int, ready: Callable[[Sequence[Crop]], None]
    ) -> None:
        self._preprocess = preprocess
        self._max_pixels = max_pixels
        self._ready = ready
        self._small: deque[_Arrival] = deque()
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode")

    def add(self, crops: Sequence[Crop], files: Sequence[ImageFile]) -> None:
        loop = asyncio.get_running_loop()
        was_idle = not self._small
        for arrival in zip(crops, files, strict=True):
            if _is_small(arrival[1]):
                self._small.append(arrival)
            else:
                loop.run_in_executor(self._threads, self._decode, arrival).add_done_callback(self._end)
        if was_idle and self._small:
            loop.call_soon(self._decode_small)

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _decode_small(self) -> None:
        share = [self._small.popleft() for _ in range(min(_SHARE, len(self._small)))]
        self._ready([self._decode(arrival) for arrival in share])
        if self._small:
            asyncio.get_running_loop().call_soon(self._decode_small)

    def _end(self, decoding: asyncio.Future[Crop]) -> None:
        self._ready([decoding.result()])

    def _decode(self, arrival: _Arrival) -> Crop:
        crop, file = arrival
        if crop.submission.given_up:
            return crop
        try:
            body = file if isinstance(file, bytes) else _from_base64(file)
            crop.image = self._preprocess(decode_image(body, self._max_pixels))
        except Exception as error:
            crop.error = error
        return crop


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ServiceError(Problem.NOT_AN_IMAGE, "The image is not base64.") from None


def _is_small(file: ImageFile) -> bool:
    try:
        head = file if isinstance(file, bytes) else _from_base64(file[:_HEAD_CHARACTERS])
        width, height = image_size(head)
    except ServiceError:
        return False
    return width * height <= _SMALL_PIXELS
