"""Ctrl-C while a training runs: the step in progress is finished, and the state is saved."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)
_SAID = b"\nstopping after the step or validation in progress; once more ends at once, without saving\n"


class Stopped(Exception):  # noqa: N818 (no error: it was wished for)
    """The training was asked to stop and has saved its state; the message is for its user."""


class Stopping:
    """While it is entered, SIGINT and SIGTERM make it ``wanted``; a second one is a KeyboardInterrupt.

    Enter it in the main thread.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stopping:
        self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        os.write(2, _SAID)  # a print may be in progress
