"""Uvicorn's HTTP protocol, changed to send an answer in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNREAD_S = 30.0
"""How long an answer may wait here because its client does not read."""


class JoiningProtocol(HttpToolsProtocol):
    """Joins head and body of an answer. Uvicorn writes them apart: two system calls, and the client is woken
    twice.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(JoiningTransport(transport))  # type: ignore[arg-type]


class JoiningTransport:
    """Collects what is written in one iteration of the event loop, and writes it at the iteration's end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._has_ended = False
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Ends the connection when all is written, or when the client has not read for too long."""
        self._flush()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(UNREAD_S, self._transport.abort)
        self._transport.close()

    def end(self) -> None:
        """Ends the connection; later writes do nothing."""
        self._flush()
        self._has_ended = True
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._flush()
        self._transport.set_protocol(protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if (
            parts and not self._has_ended and not self._transport.is_closing()
        ):  # a client may be gone before its answer
            self._transport.write(b"".join(parts))
