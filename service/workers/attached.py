"""An engine worker that another process keeps alive: this front only calls it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from service.engines.connection import EngineError, Loaded, NeverRanError, WorkerConnection, WorkerDiedError
from service.engines.engine import EngineAnswer
from service.engines.process import attach
from service.engines.protocol import Rows
from service.workers.in_flight import CallsInFlight

log = logging.getLogger("abinet")

_AGAIN_S = 0.2


class RemoteEngine:
    """The worker that listens at `path`, and every worker that replaces it.

    `is_failing` says whether its supervisor has no worker and will probably not get one soon.
    """

    def __init__(
        self,
        path: str,
        slot_bytes: int,
        is_failing: Callable[[], bool],
        silence_s: float = 60.0,
    ) -> None:
        self._path = path
        self._slot_bytes = slot_bytes
        self._is_failing = is_failing
        self._silence_s = silence_s
        self._calls: CallsInFlight | None = None
        self._lost = asyncio.Event()
        self._ready = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded and alive."""
        return self._calls is not None

    @property
    def failing(self) -> bool:
        """Whether there is no worker and none is about to start: never started, or dying again and again."""
        return self._calls is None and (self._keeping is None or self._is_failing())

    async def start(self) -> Loaded:
        """Waits for the first worker, which may still load its bundle."""
        connection, loaded = await self._attached()
        self._keeping = asyncio.create_task(self._keep(connection))
        return loaded

    async def wait_until_ready(self) -> None:
        """Returns once there is a worker: at once, except in the seconds after one has died."""
        await self._ready.wait()

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        """Runs one graph (see CallsInFlight.run)."""
        if self._calls is None:
            raise NeverRanError("the engine worker is being restarted")
        return await self._calls.run(kind, columns, size, times)

    async def close(self) -> None:
        """Leaves the worker to others."""
        # Forgotten: before Python 3.11 a cancelled task keeps its connection's memory.
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self, connection: WorkerConnection) -> None:
        """Attaches to the next worker each time one is lost."""
        while True:
            self._lost.clear()
            self._calls = CallsInFlight(connection, self._lose, self._silence_s)
            self._ready.set()
            try:
                await self._lost.wait()
            finally:
                self._lose(WorkerDiedError("the service is stopping"))
                connection.close()
            connection, _ = await self._attached()

    def _lose(self, error: WorkerDiedError) -> None:
        self._ready.clear()
        if self._calls is not None:
            self._calls.end(error)
            self._calls = None
        self._lost.set()

    async def _attached(self) -> tuple[WorkerConnection, Loaded]:
        """A connection to the worker, as soon as there is one that has loaded."""
        has_failed = False
        while True:
            try:
                connection = attach(self._path, self._slot_bytes)
                try:
                    return connection, await _introduction(connection)
                except BaseException:
                    connection.close()
                    raise
            except (OSError, WorkerDiedError) as error:
                log.debug("%s: %s", self._path, error)
            except Exception as error:  # no room, or a fault of ours: try again in either case
                level = logging.DEBUG if has_failed else logging.ERROR
                trace = None if isinstance(error, EngineError) else error
                log.log(level, "%s; it is tried again", error, exc_info=trace)
                has_failed = True
            await asyncio.sleep(_AGAIN_S)


async def _introduction(connection: WorkerConnection) -> Loaded:
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection.fileno(), there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(connection.fileno())
    return Loaded.of(connection.receive_message(0.0))
