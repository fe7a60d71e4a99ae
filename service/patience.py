"""How long a request is worth working for: until its deadline, or until its client has hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType


class OutOfPatienceError(Exception):
    """The work in a `Patience` was given up."""


class DeadlineError(OutOfPatienceError):
    """The time was over."""


class ClientGoneError(OutOfPatienceError):
    """Nobody is there to be answered."""


class Patience:
    """Cancels the work in it after `seconds`, or when `client_gone` returns.

        async with Patience(30.0, client_gone):
            ...

    Raises DeadlineError or ClientGoneError in place of what the cancelled work would have raised.
    """

    def __init__(self, seconds: float, client_gone: Callable[[], Awaitable[None]] | None = None) -> None:
        self._seconds = seconds
        self._client_gone = client_gone
        self._end: OutOfPatienceError | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        loop = asyncio.get_running_loop()
        late = DeadlineError(f"Not read within {self._seconds:g} s.")
        self._timer = loop.call_later(self._seconds, self._give_up, late)
        self._watch = None if self._client_gone is None else loop.create_task(self._listen(self._client_gone))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._end is not None and kind is asyncio.CancelledError:
            raise self._end from None

    async def _listen(self, client_gone: Callable[[], Awaitable[None]]) -> None:
        await client_gone()
        self._give_up(ClientGoneError("The client has gone."))

    def _give_up(self, end: OutOfPatienceError) -> None:
        if self._end is None:
            self._end = end
            self._task.cancel()
