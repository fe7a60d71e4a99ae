"""Keeps one engine worker alive, and carries calls to it and answers back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import anyio

from service.bundle_format.manifest import BundleError
from service.engines.connection import EngineError, Loaded, NeverRanError, WorkerDiedError
from service.engines.engine import EngineAnswer
from service.engines.process import DEATH_S, EngineProcess, ending
from service.engines.protocol import Rows
from service.workers.in_flight import CallsInFlight

log = logging.getLogger("abinet")

Result = TypeVar("Result")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_CLOSE_S = 10.0
_PING_S = 1.0
_LOOK_S = 0.02


class Supervisor:
    """One engine worker, restarted whenever it dies.

    `spawn` starts a worker process. A worker that dies is replaced at once. If workers keep dying without an
    answer, there are pauses that double up to half a minute. `restarted` is called for each new worker but
    the first. A worker that has not answered for `silence_s` is killed; by default, that is 20 times as long
    as its largest batch should take (see _silence). It is asked every second, because others may call it.
    """

    def __init__(
        self,
        spawn: Callable[[], EngineProcess],
        restarted: Callable[[], None],
        silence_s: float | None = None,
    ) -> None:
        self._spawn = spawn
        self._restarted = restarted
        self._silence_s = silence_s
        self._process: EngineProcess | None = None
        self._ready = asyncio.Event()
        self._deaths = 0
        self._closing = False
        self._keeping: asyncio.Task[None] | None = None
        self._calls: CallsInFlight | None = None
        self._starts = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._lost = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded and alive."""
        return self._ready.is_set() and self._process is not None and self._process.is_alive()

    @property
    def failing(self) -> bool:
        """Whether there is no worker and none is about to start: never started, or dying again and again."""
        return not self._ready.is_set() and (self._keeping is None or self._deaths > 1)

    async def start(self) -> Loaded:
        """Starts the first worker. Raises BundleError or EngineError: a first start is not tried again."""
        loaded = await self._launch()
        self._keeping = asyncio.create_task(self._keep())
        return loaded

    async def wait_until_ready(self) -> None:
        """Returns once there is a worker: at once, except in the seconds after one has died."""
        await self._ready.wait()

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        """Runs one graph (see CallsInFlight.run)."""
        if self._calls is None:
            raise NeverRanError("the engine worker is being restarted")
        answer = await self._calls.run(kind, columns, size, times)
        self._deaths = 0
        return answer

    def _lose(self, error: WorkerDiedError) -> None:
        """Gives up a worker that has died or counts as dead. `_keep` replaces it."""
        self._end_calls(error)
        self._lost.set()
        if self._process is not None:
            self._process.begin_kill()

    async def close(self) -> None:
        """Ends the worker after its call, or by force if it still loads or its call takes too long."""
        self._closing = True
        if self._keeping is not None:
            self._keeping.cancel()
        process = self._process
        if process is not None:
            is_loaded = self._ready.is_set()
            self._end_calls(WorkerDiedError("the service is stopping"))
            closing = self._in_thread(self._starts, process.close)
            try:
                await asyncio.wait_for(closing, _CLOSE_S if is_loaded else 0)
            except asyncio.TimeoutError:
                await _end(process)
        if self._keeping is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        self._starts.shutdown(wait=False)

    async def _keep(self) -> None:
        """Replaces the worker each time it dies, busy or idle."""
        while True:
            process = self._process
            if process is not None:
                await self._until_lost(process)
                code = await _death(process)
                how = "cannot be ended" if code is None else ending(code)
                log.warning("engine worker %d %s; another is started", process.pid, how)
                self._end_calls(WorkerDiedError(f"the engine worker {how}"))
                process.hang_up()
                self._process = None
            self._deaths += 1
            pause = min(_FIRST_PAUSE_S * 2 ** (self._deaths - 2), _LONGEST_PAUSE_S) if self._deaths > 1 else 0
            await asyncio.sleep(pause)
            try:
                await self._launch()
            except (BundleError, EngineError, OSError) as error:
                log.error("the engine worker cannot be restarted: %s", error)
            except Exception:  # a fault of ours: try again
                log.exception("the engine worker cannot be restarted")
            else:
                self._restarted()

    async def _until_lost(self, process: EngineProcess) -> None:
        """Returns when the worker has died or counts as dead."""
        while process.is_alive() and not self._lost.is_set():
            if self._calls is not None:
                self._calls.ping()
            # Not asyncio.wait_for, which before Python 3.12 swallows a cancellation that comes with the loss.
            with anyio.move_on_after(_PING_S):
                await self._lost.wait()

    async def _launch(self) -> Loaded:
        """Raises BundleError or EngineError, and then no worker is left."""
        process = await self._in_thread(self._starts, self._spawn)
        try:
            if self._closing:
                raise EngineError("the service is stopping")
            self._process = process
            loaded = await self._in_thread(self._starts, partial(process.load, early=True))
        except Exception:
            await _end(process)
            self._process = None
            raise
        self._lost.clear()
        self._calls = CallsInFlight(
            process, self._lose, self._silence_s or _silence(loaded, process.largest_batch)
        )
        self._ready.set()
        log.info("engine worker %d runs %s", process.pid, loaded.release)
        return loaded

    def _end_calls(self, error: WorkerDiedError) -> None:
        self._ready.clear()
        if self._calls is not None:
            self._calls.end(error)
            self._calls = None

    async def _in_thread(self, thread: ThreadPoolExecutor, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(thread, function)


def _silence(loaded: Loaded, largest_batch: int) -> float:
    """Seconds after which a silent worker counts as dead: short enough for the requests that wait, long
    enough for its calls. A batch that is not measured yet is taken to cost as much a crop as those that are.
    """
    longest = max((cost.seconds * largest_batch / cost.batch for cost in loaded.costs), default=0.0)
    return min(60.0, max(10.0, 20 * longest))


async def _end(process: EngineProcess) -> None:
    await _death(process)
    process.hang_up()


async def _death(process: EngineProcess) -> int | None:
    """Kills the worker and returns its return code, or None if the kernel cannot end it."""
    process.begin_kill()
    end = asyncio.get_running_loop().time() + DEATH_S
    while process.is_alive() and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(_LOOK_S)
    return None if process.is_alive() else process.wait()
