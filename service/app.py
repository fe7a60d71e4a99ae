"""The HTTP side: routes, request identifiers, and every failure as problem details."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem, ServiceError, http_problem_details, problem_details
from service.reader import Reader
from service.schemas import Health, ModelInfo, ProblemDetails, ReadOptions, ReadResult

_PROBLEM_JSON = "application/problem+json"
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": " / ".join(problem.title for problem in Problem if problem.status == status),
        "content": {_PROBLEM_JSON: {"schema": ProblemDetails.model_json_schema()}},
    }
    for status in sorted({problem.status for problem in Problem})
}
_IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "description": "One crop: a PNG, JPEG, BMP, WebP or TIFF file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def create_app(reader: Reader) -> FastAPI:
    """The application around a reader, which the caller starts and stops."""
    app = FastAPI(title="abinet", summary="Reads cropped word images with ABINet.")
    app.add_middleware(RequestIdMiddleware)

    @app.post(
        "/v1/read", response_model=ReadResult, responses=_PROBLEMS, openapi_extra=_IMAGE_BODY, tags=["read"]
    )
    async def read(
        request: Request,
        options: Annotated[ReadOptions, Query()],
        x_timeout_ms: Annotated[int | None, Header(ge=1, description="Deadline, the queue included.")] = None,
    ) -> Response:
        """Reads one crop, sent as the raw body."""
        body = await _body(request, reader.settings.max_body_bytes)
        result = await reader.read(body, options, timeout_s=x_timeout_ms / 1e3 if x_timeout_ms else None)
        return Response(
            result.model_dump_json(),
            media_type="application/json",
            headers={"Server-Timing": result.timings_ms.server_timing()},
        )

    @app.get("/v1/model", tags=["model"])
    async def model() -> ModelInfo:
        """The bundle being served and what runs it."""
        return reader.info

    @app.get("/health/live", tags=["health"])
    async def live() -> Health:
        """200 as long as the process answers."""
        return Health(status="live")

    @app.get("/health/ready", tags=["health"], responses={503: {"model": Health}})
    async def ready(response: Response) -> Health:
        """200 when the engine has run every graph and is alive, else 503."""
        state = reader.state
        response.status_code = 200 if state == "ready" else 503
        return Health(status=state)

    @app.exception_handler(ServiceError)
    async def service_error(request: Request, error: ServiceError) -> Response:
        return _problem(request, error.problem, error.detail, retry_after=error.retry_after)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return _problem(request, Problem.INVALID_REQUEST, "; ".join(faults))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        document = http_problem_details(error.status_code, error.detail, request.state.request_id)
        return JSONResponse(document, error.status_code, error.headers, media_type=_PROBLEM_JSON)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return _problem(
            request, Problem.FAULT, "The request was not at fault; the log of the service says more."
        )

    return app


async def _body(request: Request, limit: int) -> bytes:
    """The request's body. Raises ServiceError before more than `limit` bytes of it are kept."""
    too_large = ServiceError(Problem.BODY_TOO_LARGE, f"The limit is {limit} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _problem(request: Request, problem: Problem, detail: str, retry_after: int | None = None) -> Response:
    document = problem_details(problem, detail, request.state.request_id)
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse(document, problem.status, headers, media_type=_PROBLEM_JSON)


class RequestIdMiddleware:
    """Gives every request an identifier, the client's own where it sent a sane one, and answers with it."""

    _SANE = re.compile(r"[\w.:-]{1,128}", re.ASCII)

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get("x-request-id", "")
        if not self._SANE.fullmatch(request_id):
            request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)
