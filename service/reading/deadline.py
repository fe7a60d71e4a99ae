"""How long a request is worked on: until its deadline, or until its client has hung up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType

from async_timeout import timeout

_SOON_S = 0.1
"""Whether a client hangs up is watched only after this time, when most have been answered."""


class GivenUpError(Exception):
    """The work within a `Deadline` was given up."""


class DeadlineError(GivenUpError):
    """The time has passed."""


class ClientGoneError(GivenUpError):
    """The client has hung up."""


class Deadline:
    """Cancels the work in it after `seconds`, or when `client_gone` returns.

        async with Deadline(30.0, client_gone):
            await ...

    Raises DeadlineError or ClientGoneError in place of what the cancelled work would have raised.
    """

    def __init__(self, seconds: float, client_gone: Callable[[], Awaitable[None]] | None = None) -> None:
        self._seconds = seconds
        self._client_gone = client_gone
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._is_gone = False

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        # anyio's cancel scope costs twice as much.
        self._timeout = timeout(self._seconds)
        await self._timeout.__aenter__()
        if self._client_gone is not None and self._seconds > _SOON_S:
            self._timer = asyncio.get_running_loop().call_later(_SOON_S, self._listen, self._client_gone)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
        is_cancelled_elsewhere = self._is_gone and self._uncancel() > 0
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except asyncio.TimeoutError:
            raise DeadlineError(f"Not read within {self._seconds:g} s.") from None
        if self._is_gone and kind is asyncio.CancelledError and not is_cancelled_elsewhere:
            raise ClientGoneError("The client has gone.") from None

    def _uncancel(self) -> int:
        """Takes back one cancellation and returns how many are left. Python 3.10 does not count them."""
        assert self._task is not None
        return self._task.uncancel() if sys.version_info >= (3, 11) else 0

    def _listen(self, client_gone: Callable[[], Awaitable[None]]) -> None:
        async def listen() -> None:
            await client_gone()
            self._is_gone = True
            # Moving the timeout would not do: on Python 3.10 it would belong to this task from then on.
            if self._task is not None:
                self._task.cancel()

        self._listening = asyncio.get_running_loop().create_task(listen())
