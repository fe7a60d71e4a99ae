"""The answer to a batch: one document, or lines of JSON, each as soon as its crop is ready."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.crop import Crop
from service.errors import ServiceError, problem_details
from service.http.answers import answer
from service.http.body import header
from service.http.lean import JsonResponse
from service.reading.reader import Reader
from service.reading.request import ReadRequest
from service.types import Timings

LINES = "application/x-ndjson"

Told = tuple[int, Crop | ServiceError]
"""A crop's place in its batch, and its result or error."""


def batch_response(
    request: Request, names: Sequence[str | None], crops: Sequence[Crop], reader: Reader
) -> Response:
    """All crops in one document, in their order."""
    items = [batch_item(request, name, crop, reader) for name, crop in zip(names, crops, strict=True)]
    slowest: Timings | None = request.scope["state"].get("slowest")
    headers = server_timing(slowest) if slowest else []
    return JsonResponse({"items": items, "model": vars(crops[0].submission.model)}, headers=headers)


def batch_item(
    request: Request, name: str | None, crop: Crop | ServiceError, reader: Reader
) -> dict[str, Any]:
    """A crop's own result or error, which is counted; the state remembers the timings of the slowest."""
    error = crop if isinstance(crop, ServiceError) else crop.error
    if isinstance(error, ServiceError):
        reader.observer.rejected(error.problem.slug)
        details = problem_details(error.problem, error.detail, request.state.request_id)
        return {"id": name, "error": details}
    assert isinstance(crop, Crop)
    reading, timings = answer(crop, since=time.perf_counter())
    reader.observer.model_crop(crop.submission.model.version, timings)
    slowest: Timings | None = request.scope["state"].get("slowest")
    if slowest is None or timings.total > slowest.total:
        request.scope["state"]["slowest"] = timings
    return {"id": name, "result": reading}


def server_timing(timings: Timings) -> list[tuple[bytes, bytes]]:
    """The header `Server-Timing`, as a response takes it."""
    return [(b"server-timing", timings.server_timing().encode())]


def wants_lines(request: Request) -> bool:
    return LINES.encode() in header(request, b"accept").lower()


async def batch_lines(
    request: Request, names: Sequence[str | None], wanted: ReadRequest, reader: Reader
) -> Response:
    """Reads a batch and answers when its first crop is ready. Raises ServiceError if none will be."""
    done: asyncio.Queue[Told | None] = asyncio.Queue()
    wanted = wanted._replace(each=lambda index, crop: done.put_nowait((index, crop)))
    reading = asyncio.create_task(reader.read(wanted))
    reading.add_done_callback(lambda _: done.put_nowait(None))
    crops = _in_turn(reading, done, len(names))
    first = await anext(crops)

    async def lines() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(crops):
            yield line(first)
            async for told in crops:
                yield line(told)

    def line(told: Told) -> bytes:
        index, crop = told
        item = batch_item(request, names[index], crop, reader)
        if "result" in item:
            assert isinstance(crop, Crop)
            item["result"]["model"] = vars(crop.submission.model)
        return orjson.dumps({"index": index, **item}, option=orjson.OPT_APPEND_NEWLINE)

    return _LinesResponse(lines())


async def _in_turn(
    reading: asyncio.Task[list[Crop]], done: asyncio.Queue[Told | None], count: int
) -> AsyncGenerator[Told, None]:
    """Crops in the order in which they are ready, then those that were not reported.

    Raises ServiceError if the request fails before any.
    """
    left = set(range(count))
    try:
        while (told := await done.get()) is not None:
            left.discard(told[0])
            yield told
        try:
            crops: Sequence[Crop | ServiceError] = reading.result()
        except ServiceError as error:
            if len(left) == count:
                raise
            crops = [error] * count
        for index in sorted(left):
            yield index, crops[index]
    finally:
        reading.cancel()


class _LinesResponse(Response):
    """Sends lines as they come; in one piece for HTTP/1.0, which has no chunks."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__(media_type=LINES)
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["http_version"] == "1.0":
            await Response(b"".join([line async for line in self._lines]), media_type=LINES)(
                scope, receive, send
            )
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
