"""A parser for clients that offer another protocol, and send an ordinary request in case nobody takes it.

`curl --http2` and Java's HttpClient do so with `Upgrade: h2c`. A server may ignore the offer (RFC 9110, 7.8),
but httptools then takes the request's body for bytes of the other protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httptools

Headers = Sequence[tuple[bytes, bytes]]

_OF_A_BODY = (b"content-length", b"transfer-encoding")


class UpgradeIgnoringParser:
    """As httptools.HttpRequestParser, but every request is HTTP/1.1."""

    def __init__(self, protocol: Any) -> None:
        """The protocol has the `headers` of the present request, and ignores an event that `is_early`."""
        self._protocol = protocol
        self._parser = httptools.HttpRequestParser(protocol)

    @property
    def is_early(self) -> bool:
        """Whether an `on_message_complete` comes before the body now, and will come again after it."""
        return self._parser.should_upgrade() and bool(_of_a_body(self._protocol.headers))

    def feed_data(self, data: bytes) -> None:
        """Raises httptools.HttpParserError."""
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._go_on()

    def _go_on(self) -> None:
        """Goes on with a new parser that gets only the part of the head that a body needs."""
        events = _Events(self._protocol)
        self._parser = httptools.HttpRequestParser(events)
        if headers := _of_a_body(self._protocol.headers):
            lines = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % lines)
        events.is_head_known = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


class _Events:
    """Passes on what a parser reports, except the head, which the protocol has already."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.is_head_known = True
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if not self.is_head_known:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.is_head_known:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_head_known:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.is_head_known:
            self._protocol.on_headers_complete()


def _of_a_body(headers: Headers) -> Headers:
    return [header for header in headers if header[0] in _OF_A_BODY]
