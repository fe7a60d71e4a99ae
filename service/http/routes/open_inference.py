"""`/v2`: the Open Inference Protocol for KServe's and Triton's clients. Its errors are `{"error": ...}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service.errors import ProblemType, ServiceError
from service.http.body import read_body
from service.http.json_body import parsed
from service.http.lean import Endpoint, JsonResponse, LeanRoute, model_version, read_request, timeout_s
from service.http.open_inference import Described, options_of, read_tensor
from service.http.routes.open_inference_messages import (
    USUAL_OUTPUTS,
    InferError,
    InferResponse,
    Live,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ModelStats,
    Ready,
    RepositoryModel,
    ServerMetadata,
    parse,
    write,
)
from service.reading.reader import Reader

_COUNT = re.compile(r"\d{1,12}", re.ASCII)
_HEADER_LENGTH = "Inference-Header-Content-Length"
_ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": InferError}, "5XX": {"model": InferError}}
_INFER_BODY = {
    "requestBody": {
        "required": True,
        "description": f"JSON; with the header {_HEADER_LENGTH}, JSON of that length and then binary data.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}}},
    }
}


def open_inference_router(reader: Reader, version: str) -> APIRouter:
    """The routes of `/v2`; `version` is the version of the service."""
    described = Described(reader, version)
    router = APIRouter(prefix="/v2", tags=["open inference protocol"], route_class=LeanRoute)
    _add_server_routes(router, described)
    _add_model_routes(router, reader, described)
    return router


def _add_server_routes(router: APIRouter, described: Described) -> None:
    @_get(router, "", ServerMetadata)
    async def server(request: Request) -> Response:
        """The server's name, version and extensions."""
        return JsonResponse(described.server())

    # A client that ends the address with a slash must not be sent elsewhere.
    router.get("/", include_in_schema=False)(server)

    @_get(router, "/health/live", Live)
    async def live(request: Request) -> Response:
        """200 as long as the process answers."""
        return JsonResponse({"live": True})

    @_get(router, "/health/ready", Ready)
    async def ready(request: Request) -> Response:
        """200 when an engine has run every graph and is alive, else 503."""
        return _readiness({"ready": described.is_ready})

    @router.post("/repository/index", response_model=list[RepositoryModel], responses=_ERRORS)
    async def index(request: Request) -> Response:
        """The versions being served, as Triton lists its repository."""
        return JsonResponse(described.index())


def _add_model_routes(router: APIRouter, reader: Reader, described: Described) -> None:
    """Each route has two paths: the model's, and that of one of its versions."""
    name = described.name

    async def model(request: Request) -> Response:
        """The model's tensors."""
        _check_model(request, described)
        return JsonResponse(described.model())

    async def config(request: Request) -> Response:
        """The same as Triton's configuration."""
        _check_model(request, described)
        return JsonResponse(described.config())

    async def model_ready(request: Request) -> Response:
        """200 when the model can be asked, else 503."""
        _check_model(request, described)
        return _readiness({"name": name, "ready": described.is_ready})

    async def infer(request: Request) -> Response:
        """Reads crops. One that cannot be read fails the request: a tensor has no place for an error."""
        _check_model(request, described)
        return await _infer(request, reader, name)

    async def stats(request: Request) -> Response:
        """The statistics of each version, as in Triton's extension."""
        asked = ""
        if "name" in request.path_params:
            _check_model(request, described)
            asked = request.path_params.get("version", "")
        return JsonResponse(described.stats(asked))

    _get(router, "/models/stats", ModelStats)(stats)
    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        parameters = _path_parameters(path, name)
        _get(router, f"{path}/stats", ModelStats, **parameters)(stats)
        _get(router, path, ModelMetadata, **parameters)(model)
        _get(router, f"{path}/ready", ModelReady, **parameters)(model_ready)
        _get(router, f"{path}/config", ModelConfig, **parameters)(config)
        router.post(
            f"{path}/infer",
            response_model=InferResponse,
            responses=_ERRORS,
            openapi_extra={**_INFER_BODY, **parameters},
        )(infer)


def _get(
    router: APIRouter, path: str, model: type[BaseModel], **extra: Any
) -> Callable[[Endpoint], Endpoint]:
    return router.get(path, response_model=model, responses=_ERRORS, openapi_extra=extra)


def _path_parameters(path: str, model: str) -> dict[str, Any]:
    """For OpenAPI: the parameters that a path has."""
    return {
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", **({"const": model} if name == "name" else {})},
            }
            for name in re.findall(r"{(\w+)}", path)
        ]
    }


def _readiness(content: dict[str, Any]) -> Response:
    return JsonResponse(content, 200 if content["ready"] else 503)


def _check_model(request: Request, described: Described) -> None:
    described.check(request.path_params["name"], _version(request))


def _version(request: Request) -> str:
    """The version that the path names, or else a header."""
    version: str = request.path_params.get("version") or model_version(request)
    return version


async def _infer(request: Request, reader: Reader, model: str) -> Response:
    settings = reader.settings
    body = await read_body(request, settings.max_body_bytes)
    json_bytes = _json_bytes(request, body)
    asked, images = await parsed(body, lambda: parse(body, json_bytes, settings.max_batch_items))
    request.state.crops = len(images)
    patience = asked.parameters.timeout
    timeout = timeout_s(request) if patience is None else patience / 1e6
    wanted = read_request(request, images, options_of(asked.parameters), timeout)
    names = [output.name for output in asked.outputs or []] or USUAL_OUTPUTS
    values, version, request.state.slowest = await read_tensor(
        reader, wanted._replace(version=_version(request)), names
    )
    document, blobs = write(asked, values, model, version)
    if not blobs:
        return Response(document, media_type="application/json")
    headers = {_HEADER_LENGTH: str(len(document))}
    return Response(b"".join([document, *blobs]), headers=headers, media_type="application/octet-stream")


def _json_bytes(request: Request, body: bytes) -> int:
    """How many bytes of the body are JSON: all, unless a header says otherwise."""
    announced = request.headers.get(_HEADER_LENGTH, str(len(body)))
    if not _COUNT.fullmatch(announced) or int(announced) > len(body):
        raise ServiceError(
            ProblemType.INVALID_REQUEST,
            f"{_HEADER_LENGTH} is no number up to {len(body)}, the body's length.",
        )
    return int(announced)
