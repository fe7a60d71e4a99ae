"""Takes clients' connections from the address to a front without reading a byte."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence

from service.fronts.handle import Front

log = logging.getLogger("abinet")

_AGAIN_S = 0.05


class AcceptedConnections:
    """Gives each connection to the next front; while there is none, the kernel keeps them.

    If a front died before it took a connection, or has no descriptor for it, another front gets it, because
    nothing of it has been read.
    """

    def __init__(self, fronts: Sequence[Front]) -> None:
        self._fronts = fronts
        self._turn = 0
        self._again: set[asyncio.Task[None]] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Accepts connections until it is cancelled."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            while not any(front.is_up for front in self._fronts):
                await asyncio.sleep(_AGAIN_S)
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # no descriptor left, or a client that was gone at once
                log.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(_AGAIN_S)
                continue
            await self._give(connection)

    def give_back(self, connection: socket.socket) -> None:
        """Gives a connection to another front, because the first one has not taken it."""
        self._again.add(task := asyncio.create_task(self._give_again(connection)))
        task.add_done_callback(self._again.discard)

    async def _give_again(self, connection: socket.socket) -> None:
        await asyncio.sleep(_AGAIN_S)
        await self._give(connection)

    async def _give(self, connection: socket.socket) -> None:
        self._turn += 1
        try:
            while not any(front.take(connection) for front in self._in_turn()):
                await asyncio.sleep(_AGAIN_S)
        except BaseException:
            connection.close()
            raise

    def _in_turn(self) -> list[Front]:
        """The fronts in turn, except that those not ready (they can say so) and those that are silent come
        last.
        """
        first = self._turn % len(self._fronts)
        return sorted(
            [*self._fronts[first:], *self._fronts[:first]],
            key=lambda front: (front.is_silent, not front.ready.is_set()),
        )
