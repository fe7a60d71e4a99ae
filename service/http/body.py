"""Bodies of requests, read as they arrive: each within its limit, and all together within theirs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from service.errors import ProblemType, ServiceError
from service.http.encodings import check_encoding, unpacked
from service.http.multipart import Form, form_of
from service.reading.deadline import Deadline, DeadlineError

_FREE_BYTES = 64 << 10


def header(request: Request, name: bytes) -> bytes:
    """A header's value, or nothing; `name` is in lower case."""
    for key, value in request.scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


def is_form(request: Request) -> bool:
    return header(request, b"content-type").lower().startswith(b"multipart/form-data")


def is_json(request: Request) -> bool:
    return header(request, b"content-type").lower().startswith(b"application/json")


class BodyRoom:
    """How many bytes of bodies may be held at a time, and how long one may take to arrive.

    The first 64 KiB of each do not count: a client that fills the room keeps out large batches, but no single
    crop.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self.seconds = seconds
        self.held = 0

    def hold(self, state: dict[str, Any], size: int) -> None:
        """Notes that a request (by its state) holds a body of this length now. Raises ServiceError."""
        counted = max(0, size - _FREE_BYTES)
        self.held += counted - state.get("held_bytes", 0)
        state["held_bytes"] = counted
        if self.held > self._limit:
            raise ServiceError(
                ProblemType.BODIES_FULL,
                f"Bodies of {self._limit} bytes are in memory already; try again.",
                retry_after=1,
            )

    def release(self, state: dict[str, Any]) -> None:
        """Frees a request's bytes when it has been answered."""
        self.held -= state.pop("held_bytes", 0)


async def read_body(request: Request, limit: int) -> bytes:
    """Unpacked, if it was sent packed.

    Raises ServiceError if the body is longer than `limit` bytes, packed or not, too slow, packed in a way
    that is not read here, or its client hangs up.
    """
    encoding = header(request, b"content-encoding").strip().lower()
    if encoding in (b"", b"identity"):
        return await _arrived(request, limit)
    check_encoding(encoding)
    packed = await _arrived(request, limit)
    state = request.scope["state"]
    return await unpacked(packed, encoding, limit, partial(state["body_room"].hold, state))


async def _arrived(request: Request, limit: int) -> bytes:
    state = request.scope["state"]
    room: BodyRoom = state["body_room"]
    # Most requests come in one piece: without waiting, a tenth of the front's work is saved.
    deadline = contextlib.nullcontext() if state.get("has_arrived") else Deadline(room.seconds)
    try:
        async with deadline:
            return b"".join([part async for part in _parts(request, limit, room)])
    except DeadlineError:
        raise ServiceError(
            ProblemType.BODY_TOO_SLOW, f"The body did not arrive within {room.seconds:g} s."
        ) from None


async def read_form(request: Request, limit: int, most: int, fields: Sequence[str] = ()) -> Form:
    """The files of a multipart form and those of `fields` that it has (see form_of).

    Raises ServiceError, also if the body is longer than `limit` bytes.
    """
    _, options = parse_options_header(header(request, b"content-type"))
    return form_of(await read_body(request, limit), options.get(b"boundary", b""), most, fields)


async def _parts(request: Request, limit: int, room: BodyRoom) -> AsyncIterator[bytes]:
    def too_large() -> ServiceError:
        return ServiceError(ProblemType.BODY_TOO_LARGE, f"The limit is {limit} bytes.")

    announced = header(request, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        raise too_large()
    size, has_more = 0, True
    while has_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ServiceError(ProblemType.CLIENT_GONE, "The client hung up while it sent the body.")
        part: bytes = message.get("body", b"")
        has_more = message.get("more_body", False)
        size += len(part)
        if size > limit:
            raise too_large()
        if size > _FREE_BYTES:
            room.hold(request.scope["state"], size)
        yield part
    request.scope["state"]["body_bytes"] = size
