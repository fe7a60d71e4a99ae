"""The application: routes, and what is around every one of them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.middleware import ApiKeyMiddleware, RequestMiddleware
from service.open_inference import InferRequest
from service.reader import Reader
from service.request_log import RequestLog
from service.routes.observability import observability_router
from service.routes.open_inference import open_inference_router
from service.routes.problems import add_handlers
from service.routes.read import read_router
from service.routes.status import status_router
from service.schemas import BatchRequest


def create_app(reader: Reader) -> FastAPI:
    """The application around a reader, which the caller starts and stops."""
    app = _Service(
        title="abinet", summary="Reads cropped word images with ABINet.", version=version("abinet-ascend")
    )
    app.include_router(read_router(reader))
    app.include_router(status_router(reader))
    app.include_router(observability_router(reader.observer, lambda: reader.state == "ready"))
    app.include_router(open_inference_router(reader, app.version))
    add_handlers(app)
    keys = [key.get_secret_value() for key in reader.settings.api_keys]
    if keys:
        app.add_middleware(ApiKeyMiddleware, keys=keys)
    app.add_middleware(RequestMiddleware, observer=reader.observer, request_log=RequestLog(reader.settings))
    return app


class _Service(FastAPI):
    """Describes also the bodies that routes read for themselves."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            _, schema = models_json_schema(
                [(BatchRequest, "validation"), (InferRequest, "validation")],
                ref_template="#/components/schemas/{model}",
            )
            document["components"]["schemas"].update(schema["$defs"])
        return super().openapi()
