"""How long a request is worth working for: until its deadline, or until its client has hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

_SOON_S = 0.1
"""A client is listened to only after this time: most have been answered by then."""


class OutOfPatienceError(Exception):
    """The work in a `Patience` was given up."""


class DeadlineError(OutOfPatienceError):
    """The time was over."""


class ClientGoneError(OutOfPatienceError):
    """Nobody is there to be answered."""


class Patience:
    """Cancels the work in it after `seconds`, or when `client_gone` returns.

        with Patience(30.0, client_gone):
            await ...

    Raises DeadlineError or ClientGoneError in place of what the cancelled work would have raised.
    """

    def __init__(self, seconds: float, client_gone: Callable[[], Awaitable[None]] | None = None) -> None:
        self._seconds = seconds
        self._client_gone = client_gone
        self._listening: asyncio.Task[None] | None = None
        self._end: OutOfPatienceError | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = loop = asyncio.get_running_loop()
        if self._client_gone is None or self._seconds < _SOON_S:
            self._timer = loop.call_later(self._seconds, self._be_late)
        else:
            self._timer = loop.call_later(_SOON_S, self._listen, self._client_gone)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
        if self._end is not None and kind is asyncio.CancelledError:
            try:
                raise self._end from None
            finally:
                # It knows this call, and so this: together they would wait for the garbage collector.
                self._end = None

    def _listen(self, client_gone: Callable[[], Awaitable[None]]) -> None:
        async def listen() -> None:
            await client_gone()
            self._give_up(ClientGoneError("The client has gone."))

        self._timer = self._loop.call_later(self._seconds - _SOON_S, self._be_late)
        self._listening = self._loop.create_task(listen())

    def _be_late(self) -> None:
        self._give_up(DeadlineError(f"Not read within {self._seconds:g} s."))

    def _give_up(self, end: OutOfPatienceError) -> None:
        if self._end is None:
            self._end = end
            self._task.cancel()
