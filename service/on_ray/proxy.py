"""Turns the answers of Ray's HTTP proxy itself into the service's problem details.

A proxy uses it if its node was started with
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=service.on_ray.proxy.middlewares`.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ProblemType, http_problem_details, problem_details

_PROBLEMS = {408: ProblemType.DEADLINE, 503: ProblemType.NOT_READY}
_REQUEST_ID = "x-request-id"


def middlewares() -> list[Middleware]:
    """The middleware for Ray Serve's proxies."""
    return [Middleware(ProblemMiddleware)]


class ProblemMiddleware:
    """Answers a request whose replica died with 503 and Retry-After: reading it again does no harm.

    Ray would leave that to the HTTP server, which answers with a bare 500. Ray's other errors, which are
    plain text, become problem details.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        replaced: JSONResponse | None = None

        async def send_ours(message: Message) -> None:
            nonlocal status, replaced
            if message["type"] == "http.response.start":
                status = message["status"]
                if _is_rays_own(message):
                    replaced = _answer(scope, status, "Ray Serve could not pass the request on.")
            if replaced is None:
                await send(message)

        await self._app(scope, receive, send_ours)
        if not status:
            replaced = _answer(scope, 503, "The replica that had the request is gone; try again.")
        if replaced is not None:
            await replaced(scope, receive, send)


def _is_rays_own(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= 400 and not kind.startswith(("application/json", "application/problem+json"))


def _answer(scope: Scope, status: int, detail: str) -> JSONResponse:
    request_id = Headers(scope=scope).get(_REQUEST_ID, "")
    problem = _PROBLEMS.get(status)
    document = (
        problem_details(problem, detail, request_id)
        if problem
        else http_problem_details(status, detail, request_id)
    )
    headers = {_REQUEST_ID: request_id}
    if problem is ProblemType.NOT_READY:
        headers["retry-after"] = "1"
    return JSONResponse(
        {**document, "status": problem.status if problem else status},
        problem.status if problem else status,
        headers,
        media_type="application/problem+json",
    )
