"""Failures as HTTP answers: problem details, or under /v2 the errors of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import ProblemType, ServiceError, http_problem_details, invalid, problem_details
from service.http.encodings import ACCEPTED
from service.http.schemas import ProblemDetails

FAULT = ServiceError(ProblemType.FAULT, "The request was not at fault; the log of the service says more.")
MEDIA_TYPE = "application/problem+json"


def add_handlers(app: FastAPI) -> None:
    """Makes an answer of every error that a route raises on purpose."""

    @app.exception_handler(ServiceError)
    async def service_error(request: Request, error: ServiceError) -> Response:
        return problem_response(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        return problem_response(request, invalid(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        document = http_problem_details(error.status_code, error.detail, request.state.request_id)
        return _response(request, document, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return problem_response(request, FAULT)


def problem_response(request: Request, error: ServiceError) -> Response:
    """The answer to a request that failed as a whole. The request's state keeps the reason, for the log."""
    # An error refers to its calls, and these to the request: without this, the body, which may have MiBs,
    # would wait for the garbage collector.
    error.__traceback__ = error.__context__ = error.__cause__ = None
    request.state.problem = error
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.problem is ProblemType.UNAUTHORISED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.problem is ProblemType.UNSUPPORTED_ENCODING:
        headers["Accept-Encoding"] = ACCEPTED
    return _response(request, problem_details(error.problem, error.detail, request.state.request_id), headers)


def documented(*problems: ProblemType) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the failures of a route."""
    return {
        status: {
            "description": " / ".join(problem.title for problem in problems if problem.status == status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}},
        }
        for status in sorted({problem.status for problem in problems})
    }


def _response(request: Request, document: dict[str, Any], headers: dict[str, str]) -> Response:
    if request.scope["path"].removeprefix(request.scope.get("root_path", "")).startswith("/v2"):
        body = {"error": document["detail"]}
        return Response(orjson.dumps(body), document["status"], headers, "application/json")
    return Response(orjson.dumps(document), document["status"], headers, MEDIA_TYPE)
