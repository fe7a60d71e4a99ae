"""Connections to a service: which process and event loop may use them, and whether the environment's proxies
apply.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import httpx

T = TypeVar("T")

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100)
_CLOSED = "this client has been closed"
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Connections:
    """One process's connections, because after a fork parent and child would read one another's answers."""

    def __init__(self, new: Callable[[], httpx.Client]) -> None:
        self._new = new
        self._http = new()
        self._pid = os.getpid()

    def here(self) -> httpx.Client:
        if self._pid != os.getpid():
            self._http, self._pid = self._new(), os.getpid()
        return self._http

    def close(self) -> None:
        self.here().close()


class _OfALoop(NamedTuple):
    pid: int
    loop: asyncio.AbstractEventLoop
    http: httpx.AsyncClient


class AsyncConnections:
    """The connections of one process and one event loop, with which they end."""

    def __init__(self, new: Callable[[], httpx.AsyncClient]) -> None:
        self._new = new
        self._unused: httpx.AsyncClient | None = new()  # errors of the options appear at once
        self._kept: list[_OfALoop] = []
        self._is_closed = False

    def here(self) -> httpx.AsyncClient:
        pid, loop = os.getpid(), asyncio.get_running_loop()
        for one in self._kept:
            if one.loop is loop and one.pid == pid:
                return one.http
        if self._is_closed:
            raise RuntimeError(_CLOSED)
        http, self._unused = self._unused or self._new(), None
        alive = [one for one in self._kept if one.pid == pid and not one.loop.is_closed()]
        self._kept = [*alive, _OfALoop(pid, loop, http)]
        return http

    async def close(self) -> None:
        self._is_closed = True
        loop = asyncio.get_running_loop()
        for one in self._kept:
            if one.loop is loop and one.pid == os.getpid():
                await one.http.aclose()


def trusts_environment(base_url: str, uds: str | None) -> bool:
    """Whether the environment's proxies and certificates apply: not to a service on this machine."""
    host = httpx.URL(base_url).host
    if uds is not None or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def naming_variables(make: Callable[[], T]) -> T:
    """The result of `make`. Raises ValueError that names the environment variables in the way."""
    try:
        return make()
    except OSError as error:
        raise ValueError(_blame(_CERTIFICATES, error)) from None
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ValueError(_blame(_PROXIES, error)) from None


def _blame(names: tuple[str, ...], error: Exception) -> str:
    found = [f"{name}={value}" for name, value in os.environ.items() if name.upper() in names and value]
    if not found:
        return str(error)
    return f"{', '.join(found)} in the environment: {str(error).partition('.')[0]}; unset or correct it"
