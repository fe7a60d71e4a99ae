"""The HTTP server of a front: uvicorn, with connections and the order to stop from the manager."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import sys
from collections.abc import Iterator
from typing import cast

import uvicorn

from service.http.app import create_app
from service.http.body import BodyRoom
from service.http.connection_limit import most_connections
from service.http.limits import LimitedProtocol, OpenConnections
from service.observability.all_fronts import Fronts
from service.reading.model_change import Change
from service.reading.reader import Reader

_GARBAGE = 20_000
"""Objects that may pile up before Python looks for cycles among them."""
_GRACE_S = 5.0
_SWITCH_S = 2e-4
"""How long a thread that decodes may have to wait for the interpreter; Python's 5 ms are as long as 50
images.
"""


class HttpServer(uvicorn.Server):
    """Serves a reader until it is asked to stop."""

    def __init__(self, reader: Reader, change: Change | None = None, fronts: Fronts | None = None) -> None:
        self.body_room = BodyRoom(reader.settings.max_held_bytes, reader.settings.timeout_s)
        super().__init__(
            uvicorn.Config(
                create_app(reader, change, fronts, self.body_room),
                http=LimitedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=math.ceil(reader.settings.keep_alive_s),
                # Passed on to asyncio as it is, with fractions of a second.
                timeout_graceful_shutdown=cast(int, reader.settings.drain_s),
            )
        )
        self._reader = reader
        self._open_connections = OpenConnections(most_connections(reader.settings))
        # A late body is answered by the code that reads it; a body that nobody reads must end as well.
        self._body_s = reader.settings.timeout_s + _GRACE_S

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catches no signals, which are for the manager."""
        yield

    def drain(self) -> None:
        """Finishes what is in flight, and ends."""
        self._reader.drain()
        self.should_exit = True

    async def take(self, connection: socket.socket) -> None:
        """Serves a connection that was accepted elsewhere; one that comes too late is closed."""
        if self.should_exit:
            connection.close()
            return
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: LimitedProtocol(self.config, self.server_state, self._open_connections, self._body_s),
            connection,
        )


def settle_memory() -> None:
    """Leaves the present objects, which stay, out of garbage collections, so that these cost requests less
    time.

    Requests leave no cycles behind, so there is little to collect.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 20, 20)


def share_interpreter() -> None:
    """Lets threads that decode images take turns with the event loop."""
    sys.setswitchinterval(_SWITCH_S)
