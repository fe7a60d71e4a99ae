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
"""Decoding so few takes less than a hop to a thread and back."""
_LARGEST_SHARE = 16

_Arrival = tuple[Crop, ImageFile]


class Intake:
    """Gives every crop its image, or the error that it has none, and then calls `ready`.

    A small image that comes alone is decoded at once. While threads are busy, images of all requests gather
    for the next free one: then a hop there and back is for many.
    """

    def __init__(
        self, preprocess: Preprocessor, max_pixels: int, ready: Callable[[Sequence[Crop]], None]
    ) -> None:
        self._preprocess = preprocess
        self._max_pixels = max_pixels
        self._ready = ready
        self._arrivals: deque[_Arrival] = deque()
        # The event loop has enough to do for a core of its own.
        self._free = max(1, len(os.sched_getaffinity(0)) - 1)
        self._threads = ThreadPoolExecutor(self._free, thread_name_prefix="decode")

    def add(self, crops: Sequence[Crop], files: Sequence[ImageFile]) -> None:
        if not self._arrivals:
            # Later, when all that has arrived by now is there.
            asyncio.get_running_loop().call_soon(self._begin)
        self._arrivals.extend(zip(crops, files, strict=True))

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _begin(self) -> None:
        if len(self._arrivals) == 1 and _is_small(self._arrivals[0][1]):
            self._ready(self._decode([self._arrivals.popleft()]))
        while self._free and self._arrivals:
            self._free -= 1
            share = [self._arrivals.popleft() for _ in range(min(_LARGEST_SHARE, len(self._arrivals)))]
            decoding = asyncio.get_running_loop().run_in_executor(self._threads, self._decode, share)
            decoding.add_done_callback(self._end)

    def _end(self, decoding: asyncio.Future[list[Crop]]) -> None:
        self._free += 1
        self._begin()
        self._ready(decoding.result())

    def _decode(self, arrivals: Sequence[_Arrival]) -> list[Crop]:
        for crop, file in arrivals:
            if crop.submission.given_up:
                continue
            try:
                body = file if isinstance(file, bytes) else _from_base64(file)
                crop.image = self._preprocess(decode_image(body, self._max_pixels))
            except Exception as error:
                crop.error = error
        return [crop for crop, _ in arrivals]


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ServiceError(Problem.NOT_AN_IMAGE, "The image is not base64.") from None


def _is_small(file: ImageFile) -> bool:
    if isinstance(file, str):
        return False
    try:
        width, height = image_size(file)
    except ServiceError:
        return True
    return width * height <= _SMALL_PIXELS
