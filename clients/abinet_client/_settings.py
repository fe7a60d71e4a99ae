"""What both clients were told: the checked arguments, and what each request gets of them."""

from __future__ import annotations

import copy
import math
import os
import secrets
import sys
from collections.abc import Mapping
from typing import Any, Union

import httpx

from abinet_client._calls import Call
from abinet_client._connections import trusts_environment
from abinet_client._exceptions import UnexpectedAnswer
from abinet_client._retry import Attempts, Retry

_CONNECT_S = 5.0
GRACE_S = 0.25
"""Seconds that the client waits beyond the deadline, because the service's own error says more than a
timeout.
"""
_LONGEST_TIMEOUT_MS = 999_999_999

DEFAULT_URL = "http://127.0.0.1:8000"
Timeout = Union[float, None, "Default"]
"""Seconds, None for no limit, or the client's own timeout."""


class Default:
    """The default of an option of a call: the client's own."""


DEFAULT = Default()


class ClientSettings:
    """The checked arguments of both clients; environment variables replace those that are not given."""

    def __init__(
        self,
        base_url: str | None,
        *,
        uds: Any | None,
        api_key: str | None,
        timeout: float | None,
        retry: Retry,
        headers: Mapping[str, str] | None,
    ) -> None:
        """Raises ValueError for an impossible argument."""
        name = "base_url" if base_url is not None else "ABINET_URL"
        given = base_url if base_url is not None else os.environ.get("ABINET_URL") or DEFAULT_URL
        self.base_url = _checked_url(name, given)
        self.uds = None if uds is None else os.fspath(uds)
        self.trusts_environment = trusts_environment(given, self.uds)
        self.own_name = secrets.token_hex(8)
        api_key = os.environ.get("ABINET_API_KEY") or None if api_key is None else api_key
        self.headers = {
            **{name.encode(): value.encode() for name, value in (headers or {}).items()},
            **({} if api_key is None else {b"Authorization": b"Bearer " + _checked_key(api_key)}),
        }
        self.timeout = _checked_timeout(timeout)
        self.retry = retry

    def changed(
        self, timeout: Timeout, retry: Retry | None, headers: Mapping[str, str] | None
    ) -> ClientSettings:
        """The settings of `with_options`."""
        changed = copy.copy(self)
        if not isinstance(timeout, Default):
            changed.timeout = _checked_timeout(timeout)
        changed.retry = retry or self.retry
        own = {name.encode(): value.encode() for name, value in (headers or {}).items()}
        changed.headers = {**self.headers, **own}
        return changed

    def headers_of(self, call: Call[Any], seconds: float) -> dict[bytes, bytes]:
        """What a call sends that has `seconds` left."""
        own = {name.encode(): value.encode() for name, value in call.headers.items()}
        return {**_of_the_trace(), **self.headers, **_deadline(seconds), **own}

    def name(self, request: httpx.Request) -> None:
        """Gives a request without a name one that no other attempt has, not even in a forked process, so that
        its answer is recognised.
        """
        if "x-request-id" not in request.headers:
            request.headers["X-Request-ID"] = f"{self.own_name}-{secrets.token_hex(8)}"

    def check(self, response: httpx.Response, request: httpx.Request) -> None:
        """Raises UnexpectedAnswer for the answer to another of our requests. A proxy may give answers other
        names.
        """
        name = response.headers.get("x-request-id", "")
        if name.startswith(self.own_name) and name not in request.headers.get_list("x-request-id"):
            raise UnexpectedAnswer(f"The answer belongs to another request ({name}).")

    def attempts(self, call: Call[Any], timeout: Timeout) -> Attempts:
        """The attempts that a call has, by its own timeout if it has one."""
        retry = self.retry if call.may_retry else Retry(attempts=1)
        return Attempts(retry, self.timeout if isinstance(timeout, Default) else _checked_timeout(timeout))


def _of_the_trace() -> dict[bytes, bytes]:
    """`traceparent` if a program that uses OpenTelemetry has a span open."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return {name.encode(): value.encode() for name, value in carrier.items()}


def _deadline(seconds: float) -> dict[bytes, bytes]:
    if seconds == math.inf:
        return {}
    milliseconds = min(max(1, round(1e3 * seconds)), _LONGEST_TIMEOUT_MS)
    return {b"X-Timeout-Ms": str(milliseconds).encode()}


def http_timeout(seconds: float) -> httpx.Timeout:
    """For a request that has `seconds` left."""
    return httpx.Timeout(None if seconds == math.inf else seconds + GRACE_S, connect=min(seconds, _CONNECT_S))


def _checked_url(name: str, url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{name} {url!r}: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{name} {url!r} is not like {DEFAULT_URL}")
    return url


def _checked_key(key: str) -> bytes:
    if not key or key != key.strip() or not key.isprintable():
        raise ValueError("the API key is empty, or has a blank at an end or a line break")
    return key.encode()


def _checked_timeout(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"timeout {timeout!r} is neither a number of seconds above 0 nor None")
    return timeout


def check_several(images: object) -> None:
    """Raises TypeError for one image, whose bytes or characters would be taken for images."""
    if isinstance(images, (str, bytes, bytearray, os.PathLike)):
        raise TypeError(f"read_many takes several images: [{images!r:.40}] is a list of one")


def positive(name: str, value: int) -> int:
    """`value`; raises ValueError if it is not above 0."""
    if value < 1:
        raise ValueError(f"{name} {value} is not above 0")
    return value
