"""Keeps one engine worker alive and runs its calls, one at a time, outside of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from service.engines.bundle import BundleError
from service.engines.process import Answer, CallError, EngineError, EngineProcess, Loaded, WorkerDiedError
from service.scheduler import BatchFailedError

log = logging.getLogger("abinet")

Result = TypeVar("Result")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_CLOSE_S = 10.0


class Supervisor:
    """One engine worker, restarted whenever it dies.

    `spawn` starts a worker process. A worker that dies is replaced at once; one that keeps dying without
    having answered, after pauses that double up to half a minute. `restarted` is called for each new worker
    but the first.
    """

    def __init__(self, spawn: Callable[[], EngineProcess], restarted: Callable[[], None]) -> None:
        self._spawn = spawn
        self._restarted = restarted
        self._process: EngineProcess | None = None
        self._ready = asyncio.Event()
        self._deaths = 0
        self._closing = False
        self._keeping: asyncio.Task[None] | None = None
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._watch = ThreadPoolExecutor(1, thread_name_prefix="engine-watch")

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded and alive."""
        return self._ready.is_set() and self._process is not None and self._process.is_alive()

    @property
    def failing(self) -> bool:
        """Whether no worker is there and none is about to be: not started yet, or dying again and again."""
        return not self._ready.is_set() and (self._keeping is None or self._deaths > 1)

    async def start(self) -> Loaded:
        """Starts the first worker. Raises BundleError or EngineError: a first start is not tried again."""
        loaded = await self._launch()
        self._keeping = asyncio.create_task(self._keep())
        return loaded

    async def wait_until_ready(self) -> None:
        """Returns once a worker is there: at once, but for the seconds after one has died."""
        await self._ready.wait()

    async def run(self, kind: str, tensors: Sequence[np.ndarray]) -> Answer:
        """Runs one graph (see Engine.run).

        Raises WorkerDiedError where the worker died of it or while it ran: another call may succeed. Raises
        BatchFailedError where the engine raised an error.
        """
        process = self._process
        if process is None:
            raise WorkerDiedError("the engine worker is being restarted")
        try:
            answer = await self._in_thread(self._calls, lambda: process.run(kind, tensors))
        except WorkerDiedError:
            if self._process is process:
                self._ready.clear()
            raise
        except CallError as error:
            raise BatchFailedError(f"the engine raised {error}") from error
        self._deaths = 0
        return answer

    async def close(self) -> None:
        """Ends the worker after its call, or by force where it still loads or its call takes too long."""
        self._closing = True
        if self._keeping is not None:
            self._keeping.cancel()
        process = self._process
        if process is not None:
            closing = self._in_thread(self._calls, process.close)
            try:
                await asyncio.wait_for(closing, _CLOSE_S if self._ready.is_set() else 0)
            except asyncio.TimeoutError:
                process.kill()
        if self._keeping is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        self._calls.shutdown(wait=False)
        self._watch.shutdown(wait=False)

    async def _keep(self) -> None:
        """Replaces the worker whenever it dies, busy or idle."""
        while True:
            if self._process is not None:
                code = await self._in_thread(self._watch, self._process.wait)
                log.warning("engine worker %d has died (%d), another is started", self._process.pid, code)
                self._forget()
            self._deaths += 1
            pause = min(_FIRST_PAUSE_S * 2 ** (self._deaths - 2), _LONGEST_PAUSE_S) if self._deaths > 1 else 0
            await asyncio.sleep(pause)
            try:
                await self._launch()
            except (BundleError, EngineError, OSError) as error:
                log.error("the engine worker cannot be restarted: %s", error)
            else:
                self._restarted()

    async def _launch(self) -> Loaded:
        """Raises BundleError or EngineError, and then no worker is left."""
        process = await self._in_thread(self._calls, self._spawn)
        try:
            if self._closing:
                raise EngineError("the service is stopping")
            self._process = process
            loaded = await self._in_thread(self._calls, process.load)
        except (BundleError, EngineError):
            process.kill()
            self._forget()
            raise
        self._ready.set()
        log.info("engine worker %d runs %s", process.pid, loaded.release)
        return loaded

    def _forget(self) -> None:
        self._process = None
        self._ready.clear()

    async def _in_thread(self, thread: ThreadPoolExecutor, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(thread, function)
