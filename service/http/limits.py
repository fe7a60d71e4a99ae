"""Limits on a connection before its request is read: bytes, time, places."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from service.errors import http_problem_details
from service.http.protocol import UNREAD_S, JoiningProtocol, JoiningTransport
from service.http.upgrade import UpgradeIgnoringParser

log = logging.getLogger("abinet")

LONGEST_TARGET = 8 << 10
LONGEST_HEAD = 32 << 10
MOST_HEADERS = 100
MOST_PIPELINED = 16
"""Requests of one connection that may wait for the answers before theirs."""
HEAD_S = 10.0
_LINGER_S = 1.0
"""For so long after a refusal, further bytes are thrown away: if the connection closed at once, a reset would
overtake the answer.
"""
_BETWEEN, _HEAD, _BODY = range(3)
_QUIET_LOG_S = 10.0


class OpenConnections:
    """The connections of a front, of which there may be `most`.

    A further one replaces the one that has kept the service waiting for longest. If all have requests that
    are being answered, the new one is turned away.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._members: set[LimitedProtocol] = set()
        self._waiting: OrderedDict[LimitedProtocol, None] = OrderedDict()
        self._turned_away = 0
        self._logged_at = -_QUIET_LOG_S

    def admit(self, newcomer: LimitedProtocol) -> None:
        """If there is no place, turns away a connection that waits, or else the new one."""
        if len(self._members) >= self._most:
            leaving = self._waiting.popitem(last=False)[0] if self._waiting else newcomer
            self._members.discard(leaving)
            leaving.turn_away()
            self._note()
            if leaving is newcomer:
                return
        self._members.add(newcomer)
        self._waiting[newcomer] = None

    def waits_for(self, member: LimitedProtocol) -> None:
        """Notes that the service waits for this connection: for its next request, or for the rest of one."""
        if member in self._members:
            self._waiting[member] = None

    def works_for(self, member: LimitedProtocol) -> None:
        self._waiting.pop(member, None)

    def leave(self, member: LimitedProtocol) -> None:
        self._members.discard(member)
        self._waiting.pop(member, None)

    def _note(self) -> None:
        self._turned_away += 1
        now = time.monotonic()
        if now - self._logged_at >= _QUIET_LOG_S:
            log.warning(
                "%d connections are open, as many as max_connections allows; %d were closed",
                self._most,
                self._turned_away,
            )
            self._logged_at, self._turned_away = now, 0


class LimitedProtocol(JoiningProtocol):
    """HTTP for one connection; a request must arrive whole within `body_s` of its head."""

    def __init__(
        self, config: Config, server_state: ServerState, open_connections: OpenConnections, body_s: float
    ) -> None:
        super().__init__(config, server_state, {})
        self._plain = UpgradeIgnoringParser(self)
        self.parser = self._plain  # type: ignore[assignment]
        self._open_connections = open_connections
        self._body_s = body_s
        self._phase = _BETWEEN
        self._requests = 0
        self._size = self._unparsed = 0
        self._parts: list[bytes] = []
        """Parts of a body in the bytes that have just been received."""
        self._timer: asyncio.TimerHandle | None = None
        self._timed: tuple[int, int] | None = (_BETWEEN, 0)
        self._unread: asyncio.TimerHandle | None = None
        self._refusal = 400
        self._is_deaf = False

    # Called by the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_S, self._be_late)
        self._open_connections.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.leave(self)
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        was_in_body, number = self._phase == _BODY, self._requests
        super().data_received(data)
        self._take_parts()
        # The callbacks below do not see a line that never ends, nor an unfinished chunk of a body.
        is_one_head = self._phase == _HEAD and not was_in_body and self._requests - number <= 1
        self._unparsed = self._unparsed + len(data) if is_one_head else 0
        if self._unparsed > LONGEST_HEAD and not self._is_deaf:
            self._refuse(431)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    # Called by the parser, which ends if one of these raises (see send_400_response).

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            self._is_deaf = True
            self.cycle.keep_alive = False  # the last that is answered
            raise ValueError("too many requests at once")
        super().on_message_begin()
        self._phase, self._size = _HEAD, 0
        self._requests += 1

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > LONGEST_TARGET:
            self._refusal = 414
            raise ValueError("the target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._size += len(name) + len(value)
        if self._size > LONGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._refusal = 431
            raise ValueError("the head is too large")

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._phase = _BODY
        if self.scope["http_version"] == "1.0" and self.parser.should_keep_alive():
            self.cycle.keep_alive = True  # uvicorn closes; such a client has to be told
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"keep-alive")]

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._take_parts()
        if self._plain.is_early:
            return
        super().on_message_complete()
        self.cycle.scope["state"]["has_arrived"] = True
        self._phase = _BETWEEN
        if not self.cycle.response_complete:
            self._open_connections.works_for(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline:
            self._open_connections.waits_for(self)

    def _take_parts(self) -> None:
        """Passes the parts on together: for each chunk, uvicorn copies everything that waits."""
        if self._parts:
            body, self._parts = b"".join(self._parts), []
            super().on_body(body)

    # What follows.

    def send_400_response(self, msg: str) -> None:
        """Called if the parser cannot go on: the request is broken, or one of the callbacks has raised."""
        if not self._is_deaf:
            self._refuse(self._refusal)

    def turn_away(self) -> None:
        """Ends the connection, with an answer if a request has begun."""
        if self._phase == _HEAD and not self._is_answering():
            self._refuse(503)
        else:
            self.transport.close()

    def _watch(self) -> None:
        """Gives the client a deadline for the request that it has begun. Most come in one piece and need no
        timer.
        """
        is_due = self._phase != _BETWEEN or not self._requests
        step = (self._phase, self._requests) if is_due else None
        if step == self._timed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timed, self._timer = step, None
        if step is not None:
            seconds = self._body_s if self._phase == _BODY else HEAD_S
            self._timer = self.loop.call_later(seconds, self._be_late)

    def _be_late(self) -> None:
        if self._phase != _HEAD:
            self.transport.close()
        elif self._is_answering():
            self._is_deaf = True
            self.cycle.keep_alive = False  # after that answer it ends
        else:
            self._refuse(408)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int) -> None:
        """Answers instead of the application, and reads nothing more."""
        self._is_deaf = True
        self.flow.resume_reading()
        request_id = os.urandom(16).hex()
        document = orjson.dumps(http_problem_details(status, _DETAILS[status], request_id))
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/problem+json\r\nx-request-id: %s\r\n" % request_id.encode()
            + b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(document), document)
        )
        assert isinstance(self.transport, JoiningTransport)
        self.transport.end()
        self.loop.call_later(_LINGER_S, self.transport.abort)


_DETAILS: dict[int, Any] = {
    400: "The request is no HTTP that this service understands.",
    408: f"The head of the request did not arrive within {HEAD_S:g} s.",
    414: f"The target of the request is longer than {LONGEST_TARGET} bytes.",
    431: f"The head of the request has more than {LONGEST_HEAD} bytes or {MOST_HEADERS} headers.",
    503: "The service has too many connections.",
}
