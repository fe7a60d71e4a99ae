"""Threads that do not hold up the end of a program: it does not wait for a request under way."""

from __future__ import annotations

import contextvars
import queue
import threading
from concurrent.futures import Future
from typing import Any, Callable, TypeVar

T = TypeVar("T")


class Workers:
    """Up to `count` daemon threads. `concurrent.futures` would join its own before the interpreter ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._started = 0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """The future of `function(*arguments)`, which a thread calls when one is free."""
        future: Future[T] = Future()
        context = contextvars.copy_context()  # the caller's open span is known there as well

        def job() -> None:
            try:
                future.set_result(context.run(function, *arguments))
            except BaseException as error:
                future.set_exception(error)

        self._jobs.put(job)
        if self._started < self._count:
            self._started += 1
            threading.Thread(target=self._work, daemon=True, name="abinet-client").start()
        return future

    def close(self) -> None:
        """Drops calls that no thread has begun; the threads end after their present call."""
        try:
            while True:
                self._jobs.get_nowait()
        except queue.Empty:
            for _ in range(self._started):
                self._jobs.put(None)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
