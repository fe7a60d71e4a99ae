"""Every way in which a call can fail.

AbinetError
├── BadImage              the image: no known format, broken, too large; a region that cannot be cut
│   └── UnreadableFile    a path or file object that cannot be read; an OSError too
├── InvalidRequest        an option that the service does not take
├── Unauthorized          no API key, or a wrong one
├── Overloaded            too many crops are waiting (429), also after the retries
├── NotReady              the service is starting or stopping (503), also after the retries
├── DeadlineExceeded      not read in time; a TimeoutError too
├── EngineFailed          the engine failed on this crop
├── ServiceFault          a fault of the service; its log says more
├── ConnectionFailed      no service there, or the connection broke; a ConnectionError too
└── UnexpectedAnswer      what answers there is not an abinet service
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import ClassVar

import httpx
from pydantic import ValidationError

from abinet_client._models import Problem

_URN = "urn:abinet:problem:"


class AbinetError(Exception):
    """The root of all that a call raises; its text says what is wrong.

    `problem` is the service's own description, if there is one; `retry_after` is after how many seconds the
    service asks to try again.
    """

    is_transient: ClassVar[bool] = False
    """Whether the same call may succeed a little later."""
    is_refusal: bool = False
    """Whether nobody listens there at all."""

    def __init__(
        self, detail: str, *, problem: Problem | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def status(self) -> int | None:
        """The HTTP status, if the service sent one."""
        return self.problem.status if self.problem else None

    @property
    def request_id(self) -> str | None:
        """Finds the request in the service's log."""
        return self.problem.request_id if self.problem else None


class BadImage(AbinetError):
    """The image is not readable, of no known format, broken or too large, or a region of it cannot be cut."""


class UnreadableFile(BadImage, OSError):
    """A path or file object from which no image can be read."""


class InvalidRequest(AbinetError):
    """An option is out of range, or not what this service takes."""


class Unauthorized(AbinetError):
    """The service asks for an API key, and got none or a wrong one."""


class Overloaded(AbinetError):
    """Too many crops are waiting."""

    is_transient = True


class NotReady(AbinetError):
    """The service is starting or stopping."""

    is_transient = True


class DeadlineExceeded(AbinetError, TimeoutError):
    """The crop was not read in time."""


class EngineFailed(AbinetError):
    """The engine failed on this crop; the service has already tried it twice if that could help."""


class ServiceFault(AbinetError):
    """The service has a fault; its log says more."""


class ConnectionFailed(AbinetError, ConnectionError):
    """No service is there, or the connection to it broke."""

    is_transient = True


class UnexpectedAnswer(AbinetError):
    """What answers there is not an abinet service, or not of a release that this client knows."""


_BY_TYPE: dict[str, type[AbinetError]] = {
    "not-an-image": BadImage,
    "bad-region": BadImage,
    "broken-image": BadImage,
    "body-too-large": BadImage,
    "too-many-pixels": BadImage,
    "invalid-request": InvalidRequest,
    "unsupported-body": InvalidRequest,
    "unsupported-encoding": InvalidRequest,
    "broken-body": InvalidRequest,
    "too-many-crops": InvalidRequest,
    "no-such-model": InvalidRequest,
    "model-conflict": InvalidRequest,
    "bad-bundle": InvalidRequest,
    "unauthorised": Unauthorized,
    "queue-full": Overloaded,
    "not-ready": NotReady,
    "deadline-exceeded": DeadlineExceeded,
    "engine-failed": EngineFailed,
    "fault": ServiceFault,
}
# Also the answers of a proxy before the service.
_BY_STATUS: dict[int, type[AbinetError]] = {
    401: Unauthorized,
    403: Unauthorized,
    413: BadImage,
    422: InvalidRequest,
    429: Overloaded,
    502: ConnectionFailed,
    503: NotReady,
    504: DeadlineExceeded,
}
_NO_SUCH_ROUTE = (404, 405)


def error_of_problem(problem: Problem, retry_after: float | None = None) -> AbinetError:
    """The exception for a problem document."""
    kind = _BY_TYPE.get(problem.type[len(_URN) :]) if problem.type.startswith(_URN) else None
    kind = kind or _BY_STATUS.get(problem.status, UnexpectedAnswer)
    return kind(problem.detail, problem=problem, retry_after=retry_after)


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes, url: str) -> AbinetError:
    """The exception for an answer that is no success, from the service or a proxy."""
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        title = _phrase(status)
        detail = f"{url} answered {status} {title}, but not as an abinet service does."
        request_id = headers.get("x-request-id", "")
        problem = Problem(
            type="about:blank", title=title, status=status, detail=detail, request_id=request_id
        )
    if status in _NO_SUCH_ROUTE:
        problem = problem.model_copy(update={"detail": f"{url}: {problem.detail}"})
    return error_of_problem(problem, _retry_after(headers.get("retry-after", "")))


def error_of_transport(error: httpx.RequestError) -> AbinetError:
    """The exception for a request that got no answer."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return DeadlineExceeded(f"No answer in time ({type(error).__name__}).")
    if isinstance(error, httpx.TransportError):
        failed = ConnectionFailed(f"No answer from {error.request.url}: {reason}")
        failed.is_refusal = isinstance(error, httpx.ConnectError)
        return failed
    return UnexpectedAnswer(f"No sensible answer from {error.request.url}: {reason}")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown"


def _retry_after(value: str) -> float | None:
    """Seconds from now; the header has seconds or a date."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
