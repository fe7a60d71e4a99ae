"""Calls to one engine worker, and their answers, on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from service.engines.connection import CallError, NeverRanError, WorkerDiedError
from service.engines.engine import EngineAnswer
from service.engines.protocol import Rows


class BatchFailedError(Exception):
    """A batch that the engine could not run, even when it was tried a second time."""


class EngineClient(Protocol):
    """One device, which runs graphs of fixed batch size (see service.engines.engine.Engine.run)."""

    async def wait_until_ready(self) -> None: ...

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        """Makes one call with rows padded to a batch of `size`.

        Raises WorkerDiedError if the call may be tried again, BatchFailedError if not.
        """


class CallTransport(Protocol):
    """Carries calls to a worker process (see service.engines.connection.WorkerConnection)."""

    def fileno(self) -> int: ...

    def send(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> None: ...

    def ping(self) -> None: ...

    def receive(self) -> EngineAnswer: ...


class CallsInFlight:
    """Calls under way at one running worker. `lost` is called once, when the worker no longer answers.

    A worker that has not answered the first call for `silence_s` counts as dead.
    """

    def __init__(
        self, worker: CallTransport, lost: Callable[[WorkerDiedError], None], silence_s: float
    ) -> None:
        self._worker = worker
        self._lost = lost
        self._silence_s = silence_s
        self._silence: asyncio.TimerHandle | None = None
        self._pending: deque[asyncio.Future[EngineAnswer]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(worker.fileno(), self._take_answer)

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        """Runs one graph (see WorkerConnection.send), after the calls before: `SLOTS` of them at a time.

        Raises WorkerDiedError if the worker died during the call: another call may succeed. Raises
        BatchFailedError if the engine raised an error.
        """
        call = self._send(partial(self._worker.send, kind, columns, size, times))
        try:
            return await call
        except CallError as error:
            raise BatchFailedError(f"the engine raised {error}") from error

    def ping(self) -> None:
        """Asks a worker without open calls for an answer, so that its silence is noticed also while only
        others call it.
        """
        if not self._pending:
            with contextlib.suppress(WorkerDiedError):
                # Nobody waits for it.
                self._send(self._worker.ping).add_done_callback(
                    lambda call: call.cancelled() or call.exception()
                )

    def _send(self, send: Callable[[], None]) -> asyncio.Future[EngineAnswer]:
        try:
            send()
        except WorkerDiedError as error:
            self._lost(error)
            raise
        call: asyncio.Future[EngineAnswer] = self._loop.create_future()
        self._pending.append(call)
        if self._silence is None:
            self._listen_for_silence()
        return call

    def end(self, error: WorkerDiedError) -> None:
        """Takes no more calls. Those that were sent fail; only the first of them has begun."""
        self._loop.remove_reader(self._worker.fileno())
        if self._silence is not None:
            self._silence.cancel()
        while self._pending:
            call = self._pending.popleft()
            if not call.done():
                call.set_exception(error)
            error = NeverRanError(str(error))

    def _take_answer(self) -> None:
        """The worker's socket is readable: the first call has its answer, or the worker has died."""
        try:
            result: EngineAnswer | Exception = self._worker.receive()
        except BlockingIOError:
            return
        except CallError as error:
            result = error
        except WorkerDiedError as error:
            self._lost(error)
            return
        call = self._pending.popleft()
        if call.done():  # nobody waits for it any more
            pass
        elif isinstance(result, Exception):
            call.set_exception(result)
        else:
            call.set_result(result)
        self._listen_for_silence()

    def _listen_for_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if self._pending:
            self._silence = self._loop.call_later(self._silence_s, self._be_silent)

    def _be_silent(self) -> None:
        """Counts the worker as dead, unless its answer is there because this process was the one that was
        stopped.
        """
        if select.select([self._worker], [], [], 0)[0]:
            self._listen_for_silence()
        else:
            self._lost(WorkerDiedError(f"the engine worker gave no answer for {self._silence_s:g} s"))
