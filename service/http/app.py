"""The application: the routes, and the middleware around them."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from service.errors import ProblemType
from service.http.auth import KeyRing
from service.http.body import BodyRoom
from service.http.lean import LeanDispatch, LeanRoute
from service.http.middleware import OPEN_PATHS, ApiKeyMiddleware, RequestMiddleware
from service.http.problems import add_handlers, documented
from service.http.proxies import ProxyMiddleware
from service.http.routes.health import status_router
from service.http.routes.metrics import observability_router
from service.http.routes.model import ADMIN_SCHEMES, model_change_router
from service.http.routes.open_inference import open_inference_router
from service.http.routes.open_inference_messages import InferRequest
from service.http.routes.page import add_page
from service.http.routes.read import read_router
from service.http.schemas import BatchRequest, CropRequest, LoadRequest, ProblemDetails, RegionsRequest
from service.observability.all_fronts import Fronts
from service.observability.request_log import RequestLog
from service.observability.tracing import is_tracing
from service.reading.model_change import Change, ModelChange
from service.reading.reader import Reader

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

_LEAN_BODIES = (BatchRequest, CropRequest, InferRequest, LoadRequest, ProblemDetails, RegionsRequest)


def create_app(
    reader: Reader,
    change: Change | None = None,
    fronts: Fronts | None = None,
    room: BodyRoom | None = None,
) -> FastAPI:
    """The application around a reader. The caller starts and stops the reader, and may change it.

    `fronts` are this front and its siblings, if there are any; `room` is for bodies, if it is not its alone.
    """
    return _Service(reader, change or ModelChange(reader), fronts or Fronts(reader.observer), room)


class _Service(FastAPI):
    def __init__(self, reader: Reader, change: Change, fronts: Fronts, room: BodyRoom | None) -> None:
        super().__init__(
            title="abinet",
            summary="Reads cropped word images with ABINet.",
            version=version("abinet-ascend"),
            docs_url=None,
            redoc_url=None,
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        self._reader = reader
        self._room = room
        self._tracer = _tracer()
        read = read_router(reader)
        self._lean = [route for route in read.routes if isinstance(route, LeanRoute)]
        self.include_router(read)
        self.include_router(status_router(reader))
        self.include_router(model_change_router(reader, change))
        self.include_router(observability_router(fronts, reader))
        self.include_router(open_inference_router(reader, self.version))
        add_page(self)
        add_handlers(self)

    def build_middleware_stack(self) -> ASGIApp:
        """Puts our middleware around FastAPI's, which the lean routes bypass."""
        settings = self._reader.settings
        app: ASGIApp = LeanDispatch(super().build_middleware_stack(), self._lean)
        if settings.api_keys:
            app = ApiKeyMiddleware(app, KeyRing(settings.api_keys), settings.model_name)
        if settings.cors_origins:
            app = CORSMiddleware(
                app,
                settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["X-Request-Id", "Server-Timing", "Retry-After"],
            )
        if settings.root_path or settings.trusted_proxies:
            app = ProxyMiddleware(app, settings.root_path or "", settings.trusted_proxies)
        room = self._room or BodyRoom(settings.max_held_bytes, settings.timeout_s)
        app = RequestMiddleware(app, self._reader.observer, RequestLog(settings), room)
        if self._tracer is None:
            return app
        from service.http.tracing import TracingMiddleware

        return TracingMiddleware(app, self._tracer)

    def openapi(self) -> dict[str, Any]:
        """The description, with the bodies that lean routes parse themselves."""
        if self.openapi_schema is None:
            document = super().openapi()
            _, schema = models_json_schema(
                [(model, "validation") for model in _LEAN_BODIES],
                ref_template="#/components/schemas/{model}",
            )
            document["components"]["schemas"].update(schema["$defs"])
            schemes = document["components"]["securitySchemes"] = dict(ADMIN_SCHEMES)
            if self._reader.settings.api_keys:
                schemes.update(_KEY_SCHEMES)
                document["security"] = [{name: []} for name in _KEY_SCHEMES]
                _add_keys(document["paths"])
        return super().openapi()


def _tracer() -> Tracer | None:
    """None, and nothing imported, unless requests are traced."""
    if not is_tracing(os.environ):
        return None
    from service.http.tracing import new_tracer

    return new_tracer()


def _add_keys(paths: dict[str, Any]) -> None:
    """Adds to the description which operations need no key, and what the others answer without one."""
    for path, operations in paths.items():
        for operation in operations.values():
            if path in OPEN_PATHS:
                operation["security"] = []
            elif not path.startswith("/v2"):  # whose own errors are described for all of 4XX
                without = documented(ProblemType.UNAUTHORISED)
                operation["responses"].update({str(status): text for status, text in without.items()})
