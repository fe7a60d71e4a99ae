"""SIGHUP opens the bundle of the settings once more, and serves it if it has changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from service.errors import ServiceError

log = logging.getLogger("abinet")


class SighupHandler:
    """While it is entered, SIGHUP calls `load`, or `stop` if the terminal is gone."""

    def __init__(
        self, bundle: Path | None, load: Callable[[Path], Awaitable[None]], stop: Callable[[], None]
    ) -> None:
        self._bundle = bundle
        self._load = load
        self._stop = stop
        self._had_terminal = _has_terminal()
        self._changes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._answer)

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        for change in list(self._changes):
            change.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await change

    def _answer(self) -> None:
        if self._had_terminal and not _has_terminal():
            self._stop()
        elif self._bundle is None:
            log.warning("SIGHUP: there is nothing to change, because no bundle is set")
        else:
            change = asyncio.create_task(self._change(self._bundle))
            self._changes.add(change)
            change.add_done_callback(self._changes.discard)

    async def _change(self, bundle: Path) -> None:
        try:
            await self._load(bundle)
        except ServiceError as error:
            log.error("SIGHUP: %s", error.detail)


def _has_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
