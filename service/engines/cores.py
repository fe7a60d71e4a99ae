"""A core of its own for each thread of an engine."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, Iterable

_MEASURED_S = 0.05
_BUSY_SHARE = 0.25


def bind_threads(runs: Iterable[Callable[[], object]]) -> None:
    """Binds each thread that one of `runs` keeps busy to a core, if there are as many threads as cores.

    The threads of an operator wait for one another. If another process wants a core, the kernel may put two
    of them on one core, and the whole graph runs at half its speed. Only on Linux.
    """
    if not hasattr(os, "sched_getaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    for run in runs:
        threads = _busy_threads(run)
        if len(threads) == len(cores):
            for thread, core in zip(threads, cores):
                with contextlib.suppress(OSError):  # it has ended, or may not be bound
                    os.sched_setaffinity(thread, {core})


def _busy_threads(run: Callable[[], object]) -> list[int]:
    """Threads of this process that compute for a good part of the time while `run` does, oldest first."""
    before = _cpu_seconds()
    started = now = time.perf_counter()
    while now < started + _MEASURED_S:
        run()
        now = time.perf_counter()
    least = _BUSY_SHARE * (now - started)
    return sorted(
        thread for thread, seconds in _cpu_seconds().items() if seconds - before.get(thread, 0.0) > least
    )


def _cpu_seconds() -> dict[int, float]:
    """Processor seconds of every thread of this process, if the kernel counts them and /proc has them under
    our numbers.
    """
    seconds: dict[int, float] = {}
    if not os.path.isdir(f"/proc/self/task/{os.getpid()}"):
        return seconds
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/schedstat") as file:
                seconds[int(thread)] = 1e-9 * int(file.read().split()[0])
        except OSError:  # it has ended, or this kernel has no such counts
            continue
    return seconds
