"""The figures of all front processes of one service, of which any may be asked.

Each front reads what the others count (see counts). It gives the others its other figures at a Unix socket of
its own, in a folder that only this user can open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import orjson

from service.observability.observer import Observer

_PATIENCE_S = 2.0


class Observed(NamedTuple):
    """The counts, and the processes that counted."""

    observer: Observer
    processes: list[int]


class Fronts:
    """This front's observer, and the paths of the sockets at which the other fronts give their figures."""

    def __init__(self, observer: Observer, others: Sequence[str] = ()) -> None:
        self._observer = observer
        self._others = others

    async def observed(self) -> Observed:
        """Everything counted. If a front does not answer in time, only its counters are included."""
        self._observer.note_cpu_time()
        if not self._others:
            return Observed(self._observer, [os.getpid()])
        told = await asyncio.gather(*map(_ask, self._others))
        states = [self._state(), *(state for state in told if state is not None)]
        return Observed(self._observer.with_others(states), [state["process"] for state in states])

    @contextlib.asynccontextmanager
    async def telling(self, path: str) -> AsyncIterator[None]:
        """Gives other fronts the figures of this one, while in this block."""

        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(orjson.dumps(self._state()))
                await writer.drain()
            writer.close()

        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # left by a front that was killed
        server = await asyncio.start_unix_server(tell, path)
        try:
            yield
        finally:
            server.close()

    def _state(self) -> dict[str, Any]:
        return {**self._observer.state(), "process": os.getpid()}


async def _ask(path: str) -> dict[str, Any] | None:
    try:
        return await asyncio.wait_for(_told(path), _PATIENCE_S)
    except (OSError, ValueError, asyncio.TimeoutError):
        return None


async def _told(path: str) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        state: dict[str, Any] = orjson.loads(await reader.read())
        return state
    finally:
        writer.close()
