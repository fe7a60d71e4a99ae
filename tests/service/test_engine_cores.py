"""Which core each thread of an engine gets."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from service.engines.cores import bind_threads

CORES = os.sched_getaffinity(0)
BLOCK = bytes(1 << 20)


@contextmanager
def computing(count: int) -> Iterator[tuple[Callable[[], None], set[int]]]:
    """What keeps so many threads busy together, and in the end the threads."""
    barrier, threads = threading.Barrier(count), set()

    def compute(_: int) -> None:
        barrier.wait()
        threads.add(threading.get_native_id())
        for _ in range(4):
            hashlib.sha256(BLOCK)  # lets the interpreter go

    with ThreadPoolExecutor(count) as pool:
        yield lambda: list(pool.map(compute, range(count))).clear(), threads


def test_as_many_busy_threads_as_cores_get_a_core_each() -> None:
    with computing(len(CORES)) as (run, threads):
        bind_threads([run])
        bound = [os.sched_getaffinity(thread) for thread in threads]
    assert sorted(bound, key=min) == [{core} for core in sorted(CORES)]


def test_where_cores_are_left_over_the_kernel_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    with computing(len(CORES)) as (run, threads):
        monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {*CORES, max(CORES) + 1})
        bind_threads([run])
        monkeypatch.undo()
        assert [os.sched_getaffinity(thread) for thread in threads] == [CORES] * len(CORES)


def test_a_thread_that_only_waits_keeps_all_cores() -> None:
    with computing(len(CORES)) as (run, _):
        bind_threads([run])
    assert os.sched_getaffinity(0) == CORES


def test_under_the_proc_of_another_namespace_nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with computing(len(CORES)) as (run, threads):
        monkeypatch.setattr(os, "getpid", lambda: 1 << 22)
        bind_threads([run])
        monkeypatch.undo()
        assert [os.sched_getaffinity(thread) for thread in threads] == [CORES] * len(CORES)
