"""`/v2`: the Open Inference Protocol for KServe's and Triton's clients. Its errors are `{"error": ...}`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service.errors import Problem, ServiceError
from service.http.answers import answer
from service.http.body import read_body
from service.http.json_body import parsed
from service.http.lean import Endpoint, JsonResponse, LeanRoute, model_version, read_request, timeout_s
from service.http.routes.open_inference_messages import (
    NAME,
    OUTPUTS,
    USUAL_OUTPUTS,
    InferError,
    InferResponse,
    Live,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ModelStats,
    Output,
    Ready,
    RepositoryModel,
    ServerMetadata,
    parse,
    write,
)
from service.reading.reader import Reader
from service.types import ReadOptions, Timings

_COUNT = re.compile(r"\d{1,12}", re.ASCII)
_HEADER_LENGTH = "Inference-Header-Content-Length"
_ANY = -1
PLATFORM = "mindspore_mindir"
_TRITON_TYPES = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32", "INT32": "TYPE_INT32"}
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
    name = reader.settings.model_name or NAME
    router = APIRouter(prefix="/v2", tags=["open inference protocol"], route_class=LeanRoute)
    model_paths = ("/models/{name}", "/models/{name}/versions/{version}")

    def get(path: str, model: type[BaseModel], **described: Any) -> Callable[[Endpoint], Endpoint]:
        return router.get(path, response_model=model, responses=_ERRORS, openapi_extra=described)

    @get("", ServerMetadata)
    async def server(request: Request) -> Response:
        """The server's name, version and extensions."""
        return JsonResponse(
            {"name": NAME, "version": version, "extensions": ["binary_tensor_data", "statistics"]}
        )

    # A client that ends the address with a slash must not be sent elsewhere.
    router.get("/", include_in_schema=False)(server)

    @get("/health/live", Live)
    async def live(request: Request) -> Response:
        """200 as long as the process answers."""
        return JsonResponse({"live": True})

    @get("/health/ready", Ready)
    async def ready(request: Request) -> Response:
        """200 when an engine has run every graph and is alive, else 503."""
        return _readiness({"ready": reader.state == "ready"})

    async def model(request: Request) -> Response:
        """The model's tensors."""
        _check_model(request, reader)
        return JsonResponse(
            {
                "name": name,
                "versions": [one.model.version for one in reader.deployments],
                "platform": PLATFORM,
                "inputs": [{"name": "image", "datatype": "BYTES", "shape": [_ANY]}],
                "outputs": [
                    {"name": tensor, "datatype": output.datatype, "shape": [_ANY]}
                    for tensor, output in OUTPUTS.items()
                ],
            }
        )

    async def config(request: Request) -> Response:
        """The same as Triton's configuration."""
        _check_model(request, reader)
        image, *outputs = [
            {"name": tensor, "data_type": _TRITON_TYPES[output.datatype], "dims": [_ANY]}
            for tensor, output in {"image": Output("BYTES"), **OUTPUTS}.items()
        ]
        described = {"name": name, "platform": PLATFORM, "max_batch_size": 0}
        return JsonResponse({**described, "input": [image], "output": outputs})

    @router.post("/repository/index", response_model=list[RepositoryModel], responses=_ERRORS)
    async def index(request: Request) -> Response:
        """The versions being served, as Triton lists its repository."""
        state = "READY" if reader.state == "ready" else "UNAVAILABLE"
        reason = "" if state == "READY" else f"the service is {reader.state}"
        return JsonResponse(
            [
                {"name": name, "version": one.model.version, "state": state, "reason": reason}
                for one in reader.deployments
            ]
        )

    async def model_ready(request: Request) -> Response:
        """200 when the model can be asked, else 503."""
        _check_model(request, reader)
        return _readiness({"name": name, "ready": reader.state == "ready"})

    async def infer(request: Request) -> Response:
        """Reads crops. One that cannot be read fails the request: a tensor has no place for an error."""
        _check_model(request, reader)
        return await _infer(request, reader)

    async def stats(request: Request) -> Response:
        """The statistics of each version, as in Triton's extension."""
        asked = None
        if "name" in request.path_params:
            _check_model(request, reader)
            asked = request.path_params.get("version")
        versions = [one.model.version for one in reader.deployments]
        return JsonResponse(
            {
                "model_stats": [
                    {"name": name, "version": version, **reader.observer.statistics.of(version)}
                    for version in versions
                    if asked in (None, version)
                ]
            }
        )

    get("/models/stats", ModelStats)(stats)
    for path in model_paths:
        parameters = _path_parameters(path, name)
        get(f"{path}/stats", ModelStats, **parameters)(stats)
        get(path, ModelMetadata, **parameters)(model)
        get(f"{path}/ready", ModelReady, **parameters)(model_ready)
        get(f"{path}/config", ModelConfig, **parameters)(config)
        router.post(
            f"{path}/infer",
            response_model=InferResponse,
            responses=_ERRORS,
            openapi_extra={**_INFER_BODY, **parameters},
        )(infer)
    return router


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


def _check_model(request: Request, reader: Reader) -> None:
    name = reader.settings.model_name or NAME
    if request.path_params["name"] != name:
        raise ServiceError(Problem.NO_SUCH_MODEL, f"There is only {name!r}.")
    if version := _version(request):
        reader.choose(version)


def _version(request: Request) -> str:
    """The version that the path names, or else a header."""
    version: str = request.path_params.get("version") or model_version(request)
    return version


async def _infer(request: Request, reader: Reader) -> Response:
    settings = reader.settings
    body = await read_body(request, settings.max_body_bytes)
    json_bytes = _json_bytes(request, body)
    asked, images = await parsed(body, lambda: parse(body, json_bytes, settings.max_batch_items))
    request.state.crops = len(images)
    options = ReadOptions(**asked.parameters.model_dump(exclude={"binary_data_output", "timeout"}))
    patience = asked.parameters.timeout
    wanted = read_request(
        request, images, options, timeout_s(request) if patience is None else patience / 1e6
    )
    names = [output.name for output in asked.outputs or []] or USUAL_OUTPUTS
    crops = await reader.read(wanted._replace(detail="iterations" in names, version=_version(request)))
    for index, crop in enumerate(crops):
        if isinstance(crop.error, ServiceError):
            raise ServiceError(crop.error.problem, f"image[{index}]: {crop.error.detail}")
    values: dict[str, list[Any]] = {name: [] for name in names}
    measured: list[Timings] = []
    for crop in crops:
        reading, timings = answer(crop, since=time.perf_counter())
        reader.observer.model_crop(crop.submission.model.version, timings)
        measured.append(timings)
        if "iterations" in values:
            reading["iterations"] = orjson.dumps(reading["iterations"]).decode()
        for name, column in values.items():
            column.append(reading[name])
    request.state.slowest = max(measured, key=lambda timings: timings.total)
    document, blobs = write(asked, values, settings.model_name or NAME, crops[0].submission.model.version)
    if not blobs:
        return Response(document, media_type="application/json")
    headers = {_HEADER_LENGTH: str(len(document))}
    return Response(b"".join([document, *blobs]), headers=headers, media_type="application/octet-stream")


def _json_bytes(request: Request, body: bytes) -> int:
    """How many bytes of the body are JSON: all, unless a header says otherwise."""
    announced = request.headers.get(_HEADER_LENGTH, str(len(body)))
    if not _COUNT.fullmatch(announced) or int(announced) > len(body):
        raise ServiceError(
            Problem.INVALID_REQUEST, f"{_HEADER_LENGTH} is no number up to {len(body)}, the body's length."
        )
    return int(announced)
