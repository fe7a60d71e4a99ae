"""Which cores compute: those of a worker among several on the CPU, and one of its own for each thread."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from typing import IO, Callable, Iterable, Iterator

_MEASURED_S = 0.05
_BUSY_SHARE = 0.25


class SharedCores:
    """The cores of worker `place` among `places` that share this process's cores; on Linux.

    While others compute, the threads of this process stay on their share of the cores, and otherwise they may
    use all. The threads of an operator wait for one another, so two workers with a core each read more than
    one with two cores, or two with both.
    `descriptor` is a file that the workers share, with a byte for each that says whether it computes.
    """

    def __init__(self, descriptor: int, place: int, places: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._all = frozenset(cores)
        self._own = frozenset(cores[place * len(cores) // places : (place + 1) * len(cores) // places])
        self._allowed = self._all
        self._place = place
        os.ftruncate(descriptor, places)
        self._computing = mmap.mmap(descriptor, places)
        self._computing[place] = 0  # the worker before may have died in a call

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """While this runs, the other workers keep to their own cores."""
        self._computing[self._place] = 1
        try:
            self._allow(self._own if sum(self._computing[:]) > 1 else self._all)
            yield
        finally:
            self._computing[self._place] = 0

    def _allow(self, cores: frozenset[int]) -> None:
        if cores == self._allowed:
            return
        self._allowed = cores
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # it has ended, or may not be moved
                os.sched_setaffinity(int(thread), cores)


def computing_file() -> IO[bytes]:
    """A new file for the `SharedCores` of some workers."""
    return os.fdopen(os.memfd_create("computing"), "rb+", buffering=0)


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
