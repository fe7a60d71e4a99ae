"""Around every request: its identifier, its line in the log, its place in the metrics, its key."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ProblemType, ServiceError
from service.http.auth import KeyRing
from service.http.body import BodyRoom
from service.http.problems import FAULT, problem_response
from service.http.routes.model import ADMIN_PATHS
from service.http.routes.page import PAGE_PATHS
from service.observability.observer import Observer
from service.observability.request_log import RequestLog

log = logging.getLogger("abinet")

_SANE_ID = re.compile(rb"[\w.:-]{1,128}", re.ASCII)
_NO_ROUTE = "none"

OPEN_PATHS = frozenset(
    {
        "/health/live",
        "/health/ready",
        "/metrics",
        "/v1/latency",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/abinet/ready",
        "/openapi.json",
        *PAGE_PATHS,
    }
)
"""Paths that need no key: for watching the service, its description, and the demo page."""
_WITHOUT_KEY = OPEN_PATHS | ADMIN_PATHS


class RequestMiddleware:
    """Gives every request an identifier, the client's own if it sent a valid one, and answers with it.

    Counts and logs every answer, and answers itself if a fault of the service prevented an answer. Routes
    leave in the request's state: `problem`, a ServiceError; `timings`, `crops` and `body_bytes`.
    """

    def __init__(
        self, app: ASGIApp, observer: Observer, request_log: RequestLog, body_room: BodyRoom
    ) -> None:
        self._app = app
        self._observer = observer
        self._log = request_log
        self._body_room = body_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, method = time.perf_counter(), scope["method"]
        if method == "HEAD":  # as GET, of whose answer the server sends the head
            scope = {**scope, "method": "GET"}
        request_id = request_id_of(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        state["body_room"] = self._body_room
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # it took longer than the service has to stop
            if not status:
                draining = ServiceError(ProblemType.NOT_READY, "The service is stopping.", retry_after=1)
                await problem_response(Request(scope), draining)(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s failed", state["request_id"])
            if not status:
                await problem_response(Request(scope), FAULT)(scope, receive, send_with_id)
        finally:
            self._body_room.release(state)
            self._note(scope, method, status, time.perf_counter() - started)

    def _note(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        state = scope["state"]
        route = getattr(scope.get("route"), "path", _NO_ROUTE)
        error: ServiceError | None = state.get("problem")
        self._observer.request(route, status, seconds)
        if error is not None:
            for _ in range(error.crops):
                self._observer.rejected(error.problem.slug)
        self._log.write(
            request_id=state["request_id"],
            method=method,
            route=route,
            status=status,
            seconds=seconds,
            body_bytes=state.get("body_bytes", 0),
            crops=state.get("crops", 0),
            timings=state.get("timings"),
            problem=error.problem.slug if error is not None else None,
            trace_id=state.get("trace_id"),
        )


class ApiKeyMiddleware:
    """Lets only requests with one of the keys through, except to `OPEN_PATHS` and to admins' paths."""

    def __init__(self, app: ASGIApp, keys: KeyRing, model_name: str | None = None) -> None:
        self._app = app
        self._keys = keys
        self._open = _WITHOUT_KEY | ({f"/v2/models/{model_name}/ready"} if model_name else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in self._open:
            try:
                self._keys.check(scope)
            except ServiceError as error:
                app = problem_response(Request(scope), error)
        await app(scope, receive, send)


def request_id_of(scope: Scope) -> bytes:
    """The client's own if its headers have a sane one, or else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            found: bytes = value
            return found
    return b"%032x" % random.getrandbits(128)
