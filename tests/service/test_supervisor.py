"""The supervisor with workers that die when the test wants them to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest

from service.bundle_format.manifest import BundleError
from service.engines.connection import CallError, Loaded, NeverRanError, WorkerDiedError
from service.engines.engine import Cost, EngineAnswer
from service.engines.process import EngineProcess
from service.engines.protocol import Rows, socket_pair
from service.workers.in_flight import BatchFailedError
from service.workers.supervisor import Supervisor, _silence
from tests.support.waiting import until

pytestmark = pytest.mark.slow


class FakeWorker:
    """Stands in for an EngineProcess; `script` says what its calls do: an answer or an error each.

    With `is_silent` it never answers; with `is_immortal` no signal ends it, as while it waits for a device.
    """

    pid = 0

    def __init__(
        self,
        *script: Exception | None,
        refuses: Exception | None = None,
        is_silent: bool = False,
        is_immortal: bool = False,
    ) -> None:
        self._script = list(script)
        self._refuses = refuses
        self._is_silent = is_silent
        self._is_immortal = is_immortal
        self._ours, self._theirs = socket_pair()
        self.calls = 0
        self.largest_batch = 1
        self.ended = threading.Event()

    def load(self, *, early: bool) -> Loaded:
        if self._refuses is not None:
            raise self._refuses
        return Loaded("fake", [])

    def fileno(self) -> int:
        return self._ours.fileno()

    def send(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> None:
        self.calls += 1
        if not self._is_silent:
            self._theirs.send(b"answer")

    def ping(self) -> None:
        if not self._is_silent:
            self._theirs.send(b"pong")

    def receive(self) -> EngineAnswer:
        if self._ours.recv(100) == b"pong":
            return EngineAnswer([], {})
        error = self._script.pop(0) if self._script else None
        if isinstance(error, WorkerDiedError):
            self.ended.set()
        if error is not None:
            raise error
        return EngineAnswer([], {})

    def is_alive(self) -> bool:
        return not self.ended.is_set()

    def wait(self) -> int:
        assert not self._is_immortal, "this would never end"
        self.ended.wait()
        return 0

    def close(self) -> None:
        self.ended.set()
        self._ours.close()
        self._theirs.close()

    hang_up = kill = close

    def begin_kill(self) -> None:
        if not self._is_immortal:
            self.ended.set()


@asynccontextmanager
async def supervised(*workers: FakeWorker) -> AsyncIterator[tuple[Supervisor, list[str]]]:
    """A supervisor that starts these workers, one after the other, and a note of each restart."""
    supply = iter(workers)

    def spawn() -> EngineProcess:
        return cast(EngineProcess, next(supply))

    restarts: list[str] = []
    supervisor = Supervisor(spawn, lambda: restarts.append("restarted"), silence_s=0.1)
    await supervisor.start()
    try:
        with anyio.fail_after(10):
            yield supervisor, restarts
    finally:
        await supervisor.close()


async def test_a_call_whose_worker_dies_may_be_tried_again_on_the_next_one() -> None:
    first, second = FakeWorker(WorkerDiedError("signal 9")), FakeWorker()

    async with supervised(first, second) as (supervisor, restarts):
        with pytest.raises(WorkerDiedError, match="signal 9"):
            await supervisor.run("vision", [], 1)
        assert not supervisor.ready
        await supervisor.wait_until_ready()
        await supervisor.run("vision", [], 1)
        assert (first.calls, second.calls) == (1, 1)
        assert restarts == ["restarted"]


async def test_a_worker_that_dies_again_is_replaced_after_a_pause_and_serves_on() -> None:
    deadly = [FakeWorker(WorkerDiedError("signal 11")) for _ in range(2)]
    third = FakeWorker()

    async with supervised(*deadly, third) as (supervisor, _):
        for _ in deadly:
            await supervisor.wait_until_ready()
            with pytest.raises(WorkerDiedError):
                await supervisor.run("vision", [], 1)
        await until(lambda: supervisor.failing)
        await supervisor.wait_until_ready()
        await supervisor.run("vision", [], 1)
        assert third.calls == 1
        assert not supervisor.failing


async def test_an_error_of_the_engine_is_not_tried_again() -> None:
    worker = FakeWorker(CallError("no memory"))

    async with supervised(worker) as (supervisor, _):
        with pytest.raises(BatchFailedError, match="no memory"):
            await supervisor.run("vision", [], 1)
        assert worker.calls == 1
        assert supervisor.ready


async def test_a_worker_that_dies_idle_is_replaced() -> None:
    first, second = FakeWorker(), FakeWorker()

    async with supervised(first, second) as (supervisor, restarts):
        first.ended.set()
        await until(lambda: restarts)
        await supervisor.wait_until_ready()
        await supervisor.run("vision", [], 1)
        assert (first.calls, second.calls) == (0, 1)


async def test_a_worker_that_cannot_be_restarted_is_tried_again() -> None:
    first, third = FakeWorker(WorkerDiedError("signal 9")), FakeWorker()
    second = FakeWorker(refuses=BundleError("vision.mindir: gone"))

    async with supervised(first, second, third) as (supervisor, _):
        with pytest.raises(WorkerDiedError):
            await supervisor.run("vision", [], 1)
        await supervisor.wait_until_ready()
        await supervisor.run("vision", [], 1)
        assert third.calls == 1


async def test_a_first_start_that_is_refused_says_why() -> None:
    worker = FakeWorker(refuses=BundleError("vision.mindir: of another release"))
    supervisor = Supervisor(lambda: cast(EngineProcess, worker), lambda: None)
    assert supervisor.failing
    with pytest.raises(BundleError, match="another release"):
        await supervisor.start()
    assert not supervisor.ready
    assert worker.ended.is_set()


async def test_of_two_calls_on_a_worker_that_dies_only_the_first_is_to_blame() -> None:
    first, second = FakeWorker(WorkerDiedError("signal 9")), FakeWorker()

    async with supervised(first, second) as (supervisor, _):
        calls = [asyncio.create_task(supervisor.run("vision", [], 1)) for _ in range(2)]
        one, other = await asyncio.gather(*calls, return_exceptions=True)
        assert (type(one), type(other)) == (WorkerDiedError, NeverRanError)


async def test_answers_reach_their_calls_in_order_also_past_one_that_was_cancelled() -> None:
    worker = FakeWorker(None, CallError("no memory"))

    async with supervised(worker) as (supervisor, _):
        first, second = (asyncio.create_task(supervisor.run("vision", [], 1)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(BatchFailedError, match="no memory"):
            await second


async def test_a_worker_that_gives_no_answer_is_killed_and_replaced() -> None:
    first, second = FakeWorker(is_silent=True), FakeWorker()

    async with supervised(first, second) as (supervisor, _):
        with pytest.raises(WorkerDiedError, match=r"no answer for 0\.1 s"):
            await supervisor.run("vision", [], 1)
        assert first.ended.is_set()
        await supervisor.wait_until_ready()
        await supervisor.run("vision", [], 1)


async def test_a_worker_that_no_signal_ends_is_left_to_itself_and_the_event_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.workers.supervisor.DEATH_S", 0.5)
    first, second = FakeWorker(is_silent=True, is_immortal=True), FakeWorker()
    async with supervised(first, second) as (supervisor, restarts):
        with pytest.raises(WorkerDiedError, match="no answer"):
            await supervisor.run("vision", [], 1)
        longest = 0.0
        while not restarts:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)
        assert longest < 0.4
        await supervisor.run("vision", [], 1)
        assert second.calls == 1
    assert "cannot be ended; another is started" in caplog.text


async def test_a_fault_of_ours_while_a_worker_is_restarted_is_not_the_last_try(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = FakeWorker(WorkerDiedError("signal 9")), FakeWorker(refuses=KeyError("release"))
    third = FakeWorker()
    async with supervised(first, second, third) as (supervisor, _):
        with pytest.raises(WorkerDiedError):
            await supervisor.run("vision", [], 1)
        await supervisor.wait_until_ready()
        await supervisor.run("vision", [], 1)
        assert (second.is_alive(), third.calls) == (False, 1)
    assert "KeyError" in caplog.text


def test_a_silent_worker_has_time_for_the_largest_batch_also_if_only_the_smallest_was_measured() -> None:
    loaded = Loaded("fake", [Cost("vision", 1, 0.03), Cost("refine", 1, 0.001)])
    assert _silence(loaded, largest_batch=64) == pytest.approx(20 * 64 * 0.03)
    assert _silence(loaded, largest_batch=1) == 10
