"""Routes whose endpoints parse requests and write answers themselves, and are documented in OpenAPI all the
same.

FastAPI's own way from a request to typed arguments and from models to JSON, and its layers of routers, take
longer than decoding a crop.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ProblemType, ServiceError
from service.http.body import header
from service.http.json_body import validated
from service.http.problems import problem_response
from service.image_decoding.decoders import ImageFile
from service.reading.request import ReadRequest
from service.types import ReadOptions

_MOST_OPTIONS = 16
_TIMEOUT = re.compile(rb"[1-9]\d{0,8}")
_VERSION_HEADER = {
    "name": "X-Model-Version",
    "in": "header",
    "description": "Which of the models being served has to read this, by its version.",
    "schema": {"type": "string"},
}
_TIMEOUT_HEADER = {
    "name": "X-Timeout-Ms",
    "in": "header",
    "description": "Deadline in milliseconds, the wait in the queue included.",
    "schema": {"type": "integer", "minimum": 1},
}


Endpoint = Callable[[Request], Awaitable[Response]]
"""A function that answers a request on a lean route."""


class LeanRoute(APIRoute):
    """Calls its endpoint with the request and sends the response that it returns."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


class LeanDispatch:
    """Finds these routes, whose paths have no parameters, in a dictionary; leaves the rest to the router."""

    def __init__(self, app: ASGIApp, routes: Iterable[LeanRoute]) -> None:
        self._app = app
        self._routes = {(method, route.path): route for route in routes for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            if scope.get("root_path"):  # there the path has the prefix, too
                scope["path"] = scope["root_path"] + scope["path"]
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except ServiceError as error:
            response = problem_response(request, error)
        await response(scope, receive, send)


@lru_cache(maxsize=256)
def read_options(query: bytes) -> ReadOptions:
    """A query string's options. Raises ServiceError."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_OPTIONS)
    except ValueError:
        raise ServiceError(ProblemType.INVALID_REQUEST, f"query: more than {_MOST_OPTIONS} options") from None
    return validated(ReadOptions, dict(pairs), "query")


def timeout_s(request: Request) -> float | None:
    """The request's own deadline in seconds, if it has one. Raises ServiceError."""
    value = header(request, b"x-timeout-ms")
    if not value:
        return None
    if not _TIMEOUT.fullmatch(value):
        raise ServiceError(ProblemType.INVALID_REQUEST, "header.x-timeout-ms: not a whole number above 0")
    return int(value) / 1e3


def model_version(request: Request) -> str:
    """The version of the model that the request asks for; empty if it asks for none."""
    return header(request, b"x-model-version").decode("latin-1")


async def client_gone(request: Request) -> None:
    """Returns when the client of a request whose body has been read has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def read_request(
    request: Request,
    images: Sequence[ImageFile],
    options: ReadOptions,
    timeout_s: float | None,
) -> ReadRequest:
    """The ReadRequest of a request whose body has been read, with the options of its headers."""
    return ReadRequest(
        images,
        options,
        timeout_s=timeout_s,
        client_gone=partial(client_gone, request),
        version=model_version(request),
        request_id=request.scope["state"]["request_id"],
    )


class JsonResponse(Response):
    """A response of JSON. `headers` are names in lower case and their values."""

    def __init__(
        self, content: Any, status_code: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        self.status_code = status_code
        self.body = orjson.dumps(content)
        self.background = None
        length = str(len(self.body)).encode()
        self.raw_headers = [(b"content-type", b"application/json"), (b"content-length", length), *headers]


def documented_options(options: type[BaseModel]) -> list[dict[str, Any]]:
    """For OpenAPI: the query parameters that `options` describes, and the headers."""
    schema = options.model_json_schema()
    parameters = [
        {
            "name": name,
            "in": "query",
            "description": field.pop("description"),
            "schema": _in_a_query(field),
        }
        for name, field in schema["properties"].items()
    ]
    return [*parameters, _TIMEOUT_HEADER, _VERSION_HEADER]


def _in_a_query(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without its title, and without lists, which a query cannot hold."""
    schema = {key: value for key, value in field.items() if key not in ("title", "anyOf", "oneOf")}
    kinds = [
        _in_a_query(kind)
        for choice in ("anyOf", "oneOf")
        for kind in field.get(choice, [])
        if kind.get("type") != "array"
    ]
    if len(kinds) == 1:
        return {**schema, **kinds[0]}
    return {**schema, "anyOf": kinds} if kinds else schema
