"""Keeps one engine worker alive and runs its calls, one at a time, outside of the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from service.engines.bundle import BundleError
from service.engines.process import Answer, CallError, EngineError, EngineProcess, Loaded, WorkerDiedError

log = logging.getLogger("abinet")

Result = TypeVar("Result")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_CLOSE_S = 10.0


class BatchFailedError(Exception):
    """A batch that the engine could not run, also not when it was tried a second time."""


class Supervisor:
    """One engine worker, restarted whenever it dies.

    `spawn` starts a worker process. A worker that dies is replaced at once; one that keeps dying without
    having answered, after pauses that double up to half a minute. The call in flight is tried once more.
    """

    def __init__(self, spawn: Callable[[], EngineProcess]) -> None:
        self._spawn = spawn
        self._process: EngineProcess | None = None
        self._ready = False
        self._deaths = 0
        self._not_before = 0.0
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded and alive."""
        return self._ready and self._process is not None and self._process.is_alive()

    async def start(self) -> Loaded:
        """Starts the first worker. Raises BundleError or EngineError: a first start is not tried again."""
        return await self._in_thread(self._launch)

    async def run(self, kind: str, tensors: Sequence[np.ndarray]) -> Answer:
        """Runs one graph (see Engine.run). Raises BatchFailedError."""
        return await self._in_thread(lambda: self._run(kind, tensors))

    async def close(self) -> None:
        """Ends the worker after its call, or by force where it still loads or its call takes too long."""
        self._closing.set()
        process = self._process
        if process is not None:
            try:
                await asyncio.wait_for(self._in_thread(process.close), _CLOSE_S if self._ready else 0)
            except asyncio.TimeoutError:
                process.kill()
        self._thread.shutdown(wait=False)

    async def _in_thread(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    # All below runs in the engine's thread, but for _watch.

    def _run(self, kind: str, tensors: Sequence[np.ndarray]) -> Answer:
        for attempt in ("first", "second"):
            try:
                answer = self._living().run(kind, tensors)
            except WorkerDiedError as error:
                log.warning("%s at a batch's %s attempt", error, attempt)
                self._bury()
                death = error
            except CallError as error:
                raise BatchFailedError(f"the engine raised {error}") from error
            else:
                self._deaths = 0
                return answer
        raise BatchFailedError(f"{death}, twice on the same batch") from death

    def _living(self) -> EngineProcess:
        """The worker, or a new one in its place. Raises BatchFailedError where none can be had now."""
        if self._process is not None and not self._process.is_alive():
            self._bury()
        if self._process is None:
            if time.monotonic() < self._not_before:
                raise BatchFailedError("the engine worker is down and about to be restarted")
            try:
                self._launch()
            except (BundleError, EngineError) as error:
                raise BatchFailedError(f"the engine worker cannot be restarted: {error}") from error
        assert self._process is not None
        return self._process

    def _launch(self) -> Loaded:
        if self._closing.is_set():
            raise EngineError("the service is stopping")
        self._process = self._spawn()
        try:
            loaded = self._process.load()
        except (BundleError, EngineError):
            self._process.kill()
            self._bury()
            raise
        self._ready = True
        log.info("engine worker %d runs %s", self._process.pid, loaded.release)
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
        return loaded

    def _bury(self) -> None:
        self._process = None
        self._ready = False
        self._deaths += 1
        pause = 0.0 if self._deaths == 1 else min(_FIRST_PAUSE_S * 2 ** (self._deaths - 2), _LONGEST_PAUSE_S)
        self._not_before = time.monotonic() + pause

    def _watch(self, process: EngineProcess) -> None:
        """Replaces a worker that dies while nobody calls it."""
        process.wait()
        while not self._closing.wait(max(0.0, self._not_before - time.monotonic())):
            try:
                self._thread.submit(self._living).result()
                return
            except BatchFailedError as error:
                log.error("%s", error)
            except RuntimeError:  # the thread has been shut down
                return
