"""Who has started whom, by the kernel's own account."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path


def child_pids(pid: int) -> list[int]:
    """The processes that this one has started and that are still there."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, children.read_text().split())
    return found


def children(process: int, name: str) -> list[int]:
    """Processes that this one has started, by a word of their command line."""
    return [pid for pid in child_pids(process) if name in _command(pid)]


def descendants(pid: int) -> list[int]:
    """A process's children and theirs."""
    return [found for child in child_pids(pid) for found in (child, *descendants(child))]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
