"""Bodies of requests, read as they arrive and never beyond the limit."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from service.errors import Problem, ServiceError
from service.form import SentFile, files_of_form


def header(request: Request, name: bytes) -> bytes:
    """A header's value, or nothing; `name` is in lower case."""
    for key, value in request.scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


def is_form(request: Request) -> bool:
    return header(request, b"content-type").startswith(b"multipart/form-data")


async def read_body(request: Request, limit: int) -> bytes:
    """Raises ServiceError where the body is longer than `limit` bytes or its client hangs up."""
    return b"".join([part async for part in _parts(request, limit)])


async def read_files(request: Request, limit: int, most: int) -> list[SentFile]:
    """The files of a multipart form, in its order, whatever their fields are called.

    Raises ServiceError where the body is longer than `limit` bytes, no such form, has more than `most` files
    or a field that is no file.
    """
    _, options = parse_options_header(header(request, b"content-type"))
    return files_of_form(await read_body(request, limit), options.get(b"boundary", b""), most)


async def _parts(request: Request, limit: int) -> AsyncIterator[bytes]:
    def too_large() -> ServiceError:
        return ServiceError(Problem.BODY_TOO_LARGE, f"The limit is {limit} bytes.")

    announced = header(request, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        raise too_large()
    size, has_more = 0, True
    while has_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ServiceError(Problem.CLIENT_GONE, "The client hung up while it sent the body.")
        part: bytes = message.get("body", b"")
        has_more = message.get("more_body", False)
        size += len(part)
        if size > limit:
            raise too_large()
        yield part
    request.scope["state"]["body_bytes"] = size
