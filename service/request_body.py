"""Bodies of requests, read as they arrive and never beyond the limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.errors import Problem, ServiceError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class SentFile(NamedTuple):
    """A file of a multipart form."""

    name: str
    body: bytes


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
    form = _Form(most)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
        async for part in _parts(request, limit):
            parser.write(part)
        parser.finalize()
    except FormParserError as error:
        raise ServiceError(Problem.INVALID_REQUEST, f"The form is broken: {error}.") from None
    if not form.is_complete:
        raise ServiceError(Problem.INVALID_REQUEST, "The form is cut off.")
    if not form.files:
        raise ServiceError(Problem.INVALID_REQUEST, "The form has no file.")
    return form.files


class _Form:
    """What a MultipartParser calls."""

    def __init__(self, most: int) -> None:
        self.files: list[SentFile] = []
        self.is_complete = False
        self._most = most
        self._header, self._value, self._body = bytearray(), bytearray(), bytearray()
        self._disposition: dict[bytes, bytes] = {}

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, self._disposition = parse_options_header(bytes(self._value))
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        if b"filename" not in self._disposition:
            name = self._disposition.get(b"name", b"").decode("utf-8", "replace")
            raise ServiceError(
                Problem.INVALID_REQUEST, f"The form's field {name!r} is no file; options go into the query."
            )
        if len(self.files) == self._most:
            raise ServiceError(Problem.TOO_MANY_CROPS, f"The form has more files than {self._most}.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._body += data[start:end]

    def _on_part_end(self) -> None:
        self.files.append(
            SentFile(self._disposition[b"filename"].decode("utf-8", "replace"), bytes(self._body))
        )
        self._disposition = {}
        self._body.clear()

    def _on_end(self) -> None:
        self.is_complete = True


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
