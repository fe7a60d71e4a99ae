"""Every way in which a request can fail, and its one mapping to HTTP (problem details, RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any, Protocol

_FAULTS_SHOWN = 3


class ProblemType(Enum):
    """A kind of failure: the end of its type URI, its HTTP status, its title."""

    NO_SUCH_MODEL = ("no-such-model", 404, "There is no such model")
    INVALID_REQUEST = ("invalid-request", 422, "The request is not valid")
    UNAUTHORISED = ("unauthorised", 401, "The request needs a key")
    ADMIN_OFF = ("admin-off", 403, "This service does not take such requests")
    MODEL_CONFLICT = ("model-conflict", 409, "The change does not fit what is being served")
    BAD_BUNDLE = ("bad-bundle", 422, "The bundle cannot be served")
    UNSUPPORTED_BODY = ("unsupported-body", 415, "The body is of a type that this route does not take")
    UNSUPPORTED_ENCODING = ("unsupported-encoding", 415, "The body is packed in a way that is not read here")
    BROKEN_BODY = ("broken-body", 400, "The body cannot be unpacked")
    NOT_AN_IMAGE = ("not-an-image", 415, "The body is not an image of a known format")
    BAD_REGION = ("bad-region", 422, "No crop can be cut for the region")
    BROKEN_IMAGE = ("broken-image", 400, "The image cannot be decoded")
    BODY_TOO_SLOW = ("body-too-slow", 408, "The body did not arrive in time")
    BODY_TOO_LARGE = ("body-too-large", 413, "The body is too large")
    TOO_MANY_CROPS = ("too-many-crops", 413, "The batch has too many crops")
    TOO_MANY_PIXELS = ("too-many-pixels", 413, "The image has too many pixels")
    QUEUE_FULL = ("queue-full", 429, "Too many crops are waiting")
    BODIES_FULL = ("bodies-full", 429, "Too many bytes of requests are held")
    CLIENT_GONE = ("client-gone", 499, "The client hung up before it was answered")
    ENGINE_FAILED = ("engine-failed", 500, "The engine failed on this crop")
    FAULT = ("fault", 500, "The service has a fault")
    NOT_READY = ("not-ready", 503, "The service is not ready")
    DEADLINE = ("deadline-exceeded", 504, "The deadline passed before the crop was read")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


class ServiceError(Exception):
    """A crop, or `crops` of them, that cannot be read.

    `detail` is for the client; `retry_after` is in whole seconds.
    """

    def __init__(
        self, problem: ProblemType, detail: str, *, retry_after: int | None = None, crops: int = 1
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.retry_after = retry_after
        self.crops = crops


class Validation(Protocol):
    """pydantic's ValidationError, or FastAPI's."""

    def errors(self) -> Sequence[Any]: ...


def invalid(error: Validation, where: str = "") -> ServiceError:
    """What pydantic found, as a problem; `where` says in which part of the request."""
    faults = [
        f"{'.'.join([*filter(None, [where]), *map(str, fault['loc'])])}: {fault['msg']}"
        for fault in error.errors()
    ]
    more = f"; and {len(faults) - _FAULTS_SHOWN} more" if len(faults) > _FAULTS_SHOWN else ""
    return ServiceError(ProblemType.INVALID_REQUEST, "; ".join(faults[:_FAULTS_SHOWN]) + more)


def problem_details(problem: ProblemType, detail: str, request_id: str) -> dict[str, str | int]:
    """The members of a problem details document."""
    return _document(f"urn:abinet:problem:{problem.slug}", problem.title, problem.status, detail, request_id)


def http_problem_details(status: int, detail: str, request_id: str) -> dict[str, str | int]:
    """The members for a failure of HTTP itself, such as an unknown path."""
    return _document("about:blank", HTTPStatus(status).phrase, status, detail, request_id)


def _document(type_: str, title: str, status: int, detail: str, request_id: str) -> dict[str, str | int]:
    return {"type": type_, "title": title, "status": status, "detail": detail, "request_id": request_id}
