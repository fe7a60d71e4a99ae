"""Which core each thread of an engine gets."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from service.engines.cores import SharedCores, bind_threads, computing_file

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


@contextmanager
def both_places() -> Iterator[tuple[SharedCores, SharedCores]]:
    """Two workers in one process, whose threads may use all cores again in the end."""
    with computing_file() as file:
        try:
            yield SharedCores(file.fileno(), 0, 2), SharedCores(file.fileno(), 1, 2)
        finally:
            for thread in os.listdir("/proc/self/task"):
                with suppress(ProcessLookupError):  # it has ended since
                    os.sched_setaffinity(int(thread), CORES)


def cores_of_a_thread() -> set[int]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(os.sched_getaffinity, 0).result()


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core")
def test_a_worker_uses_all_cores_if_it_computes_alone_and_its_own_beside_another() -> None:
    with both_places() as (first, second):
        with first.computing():
            assert cores_of_a_thread() == CORES
            with second.computing():
                beside = cores_of_a_thread()
        with second.computing(), first.computing():
            assert beside.isdisjoint(cores_of_a_thread())
            assert beside | cores_of_a_thread() == CORES
        with first.computing():
            assert cores_of_a_thread() == CORES


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core")
def test_threads_that_were_there_before_are_moved_too() -> None:
    with both_places() as (first, second), ThreadPoolExecutor(1) as pool:
        assert pool.submit(os.sched_getaffinity, 0).result() == CORES
        with first.computing(), second.computing():
            assert len(pool.submit(os.sched_getaffinity, 0).result()) < len(CORES)


def test_a_worker_that_died_in_a_call_counts_as_idle_once_it_is_replaced() -> None:
    with computing_file() as file, both_places():
        died = SharedCores(file.fileno(), 1, 2).computing()
        died.__enter__()
        SharedCores(file.fileno(), 1, 2)
        with SharedCores(file.fileno(), 0, 2).computing():
            assert cores_of_a_thread() == CORES


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
