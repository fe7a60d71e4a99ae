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
from service.turns import turned

ImageFile = bytes | str
"""A file's bytes, or these in base64."""

_SMALL_PIXELS = 1 << 16
"""So few are decoded on the event loop: for a lone image, a hop to a thread and back takes as long."""
_SHARE = 16
"""Small images decoded at a stretch, about 2 ms: then what else has happened has its turn."""
_HEAD_CHARACTERS = 1 << 14
"""Enough base64 to find the size of nearly every image."""

_Arrival = tuple[Crop, ImageFile]


class Intake:
    """Gives every crop its image, or the error that it has none, and then calls `ready`.

    Small images are decoded on the event loop, a few at a stretch; where many wait, threads on other cores
    help. Large ones are decoded in threads.
    """

    def __init__(
        self, preprocess: Preprocessor, max_pixels: int, ready: Callable[[Sequence[Crop]], None]
    ) -> None:
        self._preprocess = preprocess
        self._max_pixels = max_pixels
        self._ready = ready
        self._small: deque[_Arrival] = deque()
        self._idle_cores = len(os.sched_getaffinity(0)) - 1
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode")

    def add(self, crops: Sequence[Crop], files: Sequence[ImageFile]) -> None:
        was_idle = not self._small
        for arrival in zip(crops, files, strict=True):
            if _is_small(arrival[1]):
                self._small.append(arrival)
            else:
                self._in_thread([arrival]).add_done_callback(self._end)
        if was_idle and self._small:
            asyncio.get_running_loop().call_soon(self._decode_small)

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _decode_small(self) -> None:
        if len(self._small) > 2 * _SHARE and self._idle_cores:
            self._idle_cores -= 1
            # A thread comes back for the interpreter after each image, the loop keeps it: hence two shares.
            self._in_thread(self._share(2)).add_done_callback(self._end_share)
        self._ready(self._decode(self._share()))
        if self._small:
            asyncio.get_running_loop().call_soon(self._decode_small)

    def _share(self, shares: int = 1) -> list[_Arrival]:
        return [self._small.popleft() for _ in range(min(shares * _SHARE, len(self._small)))]

    def _in_thread(self, arrivals: list[_Arrival]) -> asyncio.Future[list[Crop]]:
        return asyncio.get_running_loop().run_in_executor(self._threads, self._decode, arrivals)

    def _end_share(self, decoding: asyncio.Future[list[Crop]]) -> None:
        self._idle_cores += 1
        self._end(decoding)

    def _end(self, decoding: asyncio.Future[list[Crop]]) -> None:
        self._ready(decoding.result())

    def _decode(self, arrivals: list[_Arrival]) -> list[Crop]:
        for crop, file in arrivals:
            if crop.submission.given_up:
                continue
            try:
                body = file if isinstance(file, bytes) else _from_base64(file)
                image = decode_image(body, self._max_pixels)
                crop.image = self._preprocess(turned(image, crop.turned))
            except Exception as error:
                crop.error = error
        return [crop for crop, _ in arrivals]


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
