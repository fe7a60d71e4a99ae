"""Routes whose endpoints parse and write for themselves, documented in OpenAPI all the same.

FastAPI's own way from a request to typed arguments and from models to JSON takes longer than decoding a crop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.errors import Problem, ServiceError, invalid
from service.schemas import ReadOptions

_TIMEOUT = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_TIMEOUT_HEADER = {
    "name": "X-Timeout-Ms",
    "in": "header",
    "description": "Deadline in milliseconds, the wait in the queue included.",
    "schema": {"type": "integer", "minimum": 1},
}


class LeanRoute(APIRoute):
    """Calls its endpoint with the request and sends the response that it returns."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


@lru_cache(maxsize=256)
def read_options(query: bytes) -> ReadOptions:
    """A query string's options. Raises ServiceError."""
    try:
        return ReadOptions.model_validate(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
    except ValidationError as error:
        raise invalid(error, "query") from None


def timeout_s(request: Request) -> float | None:
    """The deadline that the request sets itself, if any, in seconds. Raises ServiceError."""
    value = request.headers.get("x-timeout-ms")
    if value is None:
        return None
    if not _TIMEOUT.fullmatch(value):
        raise ServiceError(Problem.INVALID_REQUEST, "header.x-timeout-ms: not a whole number above 0")
    return int(value) / 1e3


async def client_gone(request: Request) -> None:
    """Returns when the client of a request whose body has been read has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_response(content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), headers=headers, media_type="application/json")


def documented_options(options: type[BaseModel]) -> list[dict[str, Any]]:
    """For OpenAPI: the query parameters that `options` describes, and the header with the deadline."""
    schema = options.model_json_schema()
    parameters = [
        {
            "name": name,
            "in": "query",
            "description": field.pop("description"),
            "schema": {key: value for key, value in field.items() if key != "title"},
        }
        for name, field in schema["properties"].items()
    ]
    return [*parameters, _TIMEOUT_HEADER]
