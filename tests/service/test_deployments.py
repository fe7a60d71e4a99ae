"""Which model reads what, and what a change waits for, with engines that the test plays."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from service.crop import Room
from service.engines.bundle import Bundle
from service.engines.connection import EngineError, Loaded
from service.engines.engine import Cost, EngineAnswer
from service.engines.protocol import Rows
from service.errors import ProblemType, ServiceError
from service.fronts.sighup import SighupHandler
from service.http.app import create_app
from service.observability.observer import Observer
from service.reading.deployment import Deployment, ManagedEngine
from service.reading.model_change import ModelChange
from service.reading.reader import Reader
from service.reading.request import ReadRequest
from service.reading.scheduler import Scheduler
from service.reading.smoke_test import TrialError, try_out
from service.settings.model import Settings
from service.types import ReadOptions
from tests.support.empty_bundle import empty_bundle
from tests.support.reading import read_one
from tests.support.tiny_service import crop, encoded, problem
from tests.support.waiting import until

IMAGE = encoded(crop())
COSTS = [Cost(kind, 1, 0.001) for kind in ("vision", "refine")]


class PlayedEngine:
    """In a supervisor's place: starts and answers once it may."""

    failing = False
    ready = True

    def __init__(self, logit: float = 0.0) -> None:
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_starting = self.is_closed = False
        self.crops_seen = 0
        self._logit = logit

    async def start(self) -> Loaded:
        self.is_starting = True
        await self.may_start.wait()
        return Loaded("played", COSTS)

    async def wait_until_ready(self) -> None:
        pass

    async def close(self) -> None:
        self.is_closed = True

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        self.crops_seen += len(columns[0])
        await self.may_answer.wait()
        logits = np.full((size, 26, 37), self._logit, np.float32)
        assert kind == "read"
        return EngineAnswer([logits] * (1 + 2 * times), {"vision": 0.001, "refine": 0.001})


class Played(Reader):
    """Reads with played engines, one for each version; the engine of a later model is `engines[version]`."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.engines: dict[str, PlayedEngine] = {}
        super().__init__(bundle, settings, Observer())

    def new_deployment(self, bundle: Bundle, engines: Sequence[ManagedEngine] | None = None) -> Deployment:
        return super().new_deployment(bundle, [self.engines.setdefault(bundle.version, PlayedEngine())])


def bundle(folder: Path, version: str) -> Bundle:
    (folder / version).mkdir(exist_ok=True)
    return empty_bundle(folder / version, version=version)


@asynccontextmanager
async def played(
    tmp_path: Path, settings: Settings | None = None
) -> AsyncIterator[tuple[Played, ModelChange]]:
    """A reader of model "1", beside which there is a bundle "2", and what changes its model."""
    bundle(tmp_path, "2")
    reader = Played(bundle(tmp_path, "1"), settings or Settings())
    await reader.start()
    try:
        with anyio.fail_after(60):
            yield reader, ModelChange(reader)
    finally:
        await reader.stop()


async def problem_of(call: Awaitable[object]) -> ProblemType:
    with pytest.raises(ServiceError) as failure:
        await call
    return failure.value.problem


async def test_a_further_worker_on_the_cpu_starts_once_the_first_is_ready(tmp_path: Path) -> None:
    first, second = PlayedEngine(), PlayedEngine()
    second.may_start.clear()
    deployment = Deployment(
        bundle(tmp_path, "1"), Settings(devices=("cpu", "cpu")), Observer(), Room(8), [first, second]
    )
    first.may_start.clear()
    starting = asyncio.create_task(deployment.start())
    await until(lambda: first.is_starting)
    assert not second.is_starting
    first.may_start.set()
    await starting
    await until(lambda: second.is_starting)
    second.may_start.set()
    await until(lambda: len(deployment.batch_costs) == 2)
    await deployment.close()


async def test_a_further_worker_that_cannot_start_is_named_and_tried_again_while_the_first_reads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(PlayedEngine):
        async def start(self) -> Loaded:
            if not self.is_starting:
                self.is_starting = True
                raise EngineError("no memory is left")
            return await super().start()

    monkeypatch.setattr("service.reading.deployment._START_AGAIN_S", 0.1)

    class WithTwo(Played):
        def new_deployment(
            self, bundle: Bundle, engines: Sequence[ManagedEngine] | None = None
        ) -> Deployment:
            return Reader.new_deployment(self, bundle, [PlayedEngine(), Refusing()])

    reader = WithTwo(bundle(tmp_path, "1"), Settings(devices=("cpu", "cpu")))
    await reader.start()
    await until(lambda: "one engine worker of 2 cannot start: no memory is left" in caplog.text)
    await read_one(reader, IMAGE, ReadOptions())
    await until(lambda: len(reader.main.batch_costs) == 2)
    await reader.stop()


async def test_a_request_is_finished_by_the_model_that_began_it(tmp_path: Path) -> None:
    async with played(tmp_path) as (reader, change):
        old = reader.engines["1"]
        old.may_answer.clear()
        slow = asyncio.create_task(read_one(reader, IMAGE, ReadOptions()))
        await until(lambda: old.crops_seen)
        await change.load(tmp_path / "2")
        assert (await read_one(reader, IMAGE, ReadOptions())).submission.model.version == "2"
        assert not old.is_closed
        old.may_answer.set()
        assert (await slow).submission.model.version == "1"
        await until(lambda: old.is_closed)


async def test_a_fault_of_the_scheduler_costs_no_later_crop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults, next_batch = [RuntimeError("a fault"), RuntimeError("another")], Scheduler._next_batch

    def faulty(scheduler: Scheduler, lane: Any) -> Any:
        if faults and scheduler._waiting:
            raise faults.pop()
        return next_batch(scheduler, lane)

    monkeypatch.setattr(Scheduler, "_next_batch", faulty)
    async with played(tmp_path) as (reader, _):
        for _ in range(3):
            assert (await read_one(reader, IMAGE, ReadOptions())).words
        assert reader.state == "ready"
    assert faults == []
    assert caplog.text.count("the scheduler failed; it goes on") == 2


async def test_only_one_change_is_under_way(tmp_path: Path) -> None:
    async with played(tmp_path) as (reader, change):
        engine = reader.engines["2"] = PlayedEngine()
        engine.may_start.clear()
        loading = asyncio.create_task(change.load(tmp_path / "2"))
        await until(lambda: engine.is_starting)
        assert await problem_of(change.load(tmp_path / "2")) is ProblemType.MODEL_CONFLICT
        assert reader.model.version == "1"
        engine.may_start.set()
        await loading
        assert reader.model.version == "2"


async def test_a_service_that_stops_waits_for_no_change_and_begins_none(tmp_path: Path) -> None:
    async with played(tmp_path) as (reader, change):
        engine = reader.engines["2"] = PlayedEngine()
        engine.may_start.clear()
        loading = asyncio.create_task(change.load(tmp_path / "2"))
        await until(lambda: engine.is_starting)
        reader.drain()
        assert await problem_of(loading) is ProblemType.NOT_READY
        assert engine.is_closed
        assert await problem_of(change.load(tmp_path / "2")) is ProblemType.NOT_READY
        assert reader.model.version == "1"


async def test_a_change_that_is_cancelled_leaves_no_worker(tmp_path: Path) -> None:
    async with played(tmp_path) as (reader, change):
        engine = reader.engines["2"] = PlayedEngine()
        engine.may_start.clear()
        loading = asyncio.create_task(change.load(tmp_path / "2"))
        await until(lambda: engine.is_starting)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert engine.is_closed
        await change.load(tmp_path / "1")


async def test_a_service_that_starts_has_nothing_to_change(tmp_path: Path) -> None:
    change = ModelChange(Played(bundle(tmp_path, "1"), Settings()))
    assert await problem_of(change.load(tmp_path / "1")) is ProblemType.NOT_READY


async def test_a_model_whose_trial_yields_no_numbers_is_not_served(tmp_path: Path) -> None:
    async with played(tmp_path) as (reader, change):
        reader.engines["2"] = PlayedEngine(np.nan)
        with pytest.raises(ServiceError, match="not finite") as failure:
            await change.load(tmp_path / "2")
        assert failure.value.problem is ProblemType.BAD_BUNDLE
        assert reader.engines["2"].is_closed
        assert reader.model.version == "1"


async def test_a_trial_has_an_end(tmp_path: Path) -> None:
    engine = PlayedEngine()
    engine.may_answer.clear()
    with pytest.raises(TrialError, match=r"within 0\.01 s"):
        await try_out(engine, bundle(tmp_path, "1"), Loaded("played", COSTS), 0.01)


async def test_a_model_is_changed_also_while_the_queue_is_full(tmp_path: Path) -> None:
    async with played(tmp_path, Settings(max_queue=1, max_batch_items=1)) as (reader, change):
        engine = reader.engines["1"]
        engine.may_answer.clear()
        reading = []

        async def until_there_are(given: int, waiting: int) -> None:
            await until(lambda: (engine.crops_seen, reader._room.depth) == (given, waiting))

        for given, waiting in ((1, 0), (2, 0), (2, 1)):
            reading.append(asyncio.create_task(read_one(reader, IMAGE, ReadOptions())))
            await until_there_are(given, waiting)
        assert await problem_of(read_one(reader, IMAGE, ReadOptions())) is ProblemType.QUEUE_FULL
        await change.load(tmp_path / "2")
        engine.may_answer.set()
        assert {(await one).submission.model.version for one in reading} == {"1"}


async def test_crops_of_both_models_count_for_one_queue(tmp_path: Path) -> None:
    async with played(tmp_path, Settings(max_queue=10, max_batch_items=10)) as (reader, change):
        await change.load(tmp_path / "2", 0)
        for engine in reader.engines.values():
            engine.may_answer.clear()
        waiting = [
            asyncio.create_task(reader.read(ReadRequest([IMAGE] * 5, ReadOptions(), version=version)))
            for version in ("1", "2")
        ]
        await until(lambda: reader._room.depth == 10)
        for version in ("1", "2"):
            full = reader.read(ReadRequest([IMAGE] * 5, ReadOptions(), version=version))
            assert await problem_of(full) is ProblemType.QUEUE_FULL
        for one in waiting:
            one.cancel()


async def test_a_canary_gets_its_share_of_the_requests_and_keeps_them_as_it_grows(tmp_path: Path) -> None:
    async with played(tmp_path) as (reader, change):
        ids = [f"{number:032x}" for number in range(10_000)]

        def of_the_canary() -> set[str]:
            return {one for one in ids if reader.choose(request_id=one) is reader.canary}

        await change.load(tmp_path / "2", 0)
        assert of_the_canary() == set()
        before: set[str] = set()
        for percent in (0.5, 10, 30, 100):
            await change.load(tmp_path / "2", percent)
            now = of_the_canary()
            assert before <= now
            assert len(now) == pytest.approx(100 * percent, rel=0.1)
            before = now
        assert before == set(ids)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="in Python 3.10 the garbage collector frees it")
async def test_a_retired_model_is_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    async with played(tmp_path) as (reader, change):
        old = weakref.ref(reader.main)
        await read_one(reader, IMAGE, ReadOptions())
        gc.disable()
        try:
            await change.load(tmp_path / "2")
            await until(lambda: old() is None)
        finally:
            gc.enable()


async def test_sighup_without_a_bundle_is_survived_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with played(tmp_path) as (reader, change):
        with caplog.at_level(logging.WARNING, "abinet"):
            async with SighupHandler(None, change.load, reader.drain):
                os.kill(os.getpid(), signal.SIGHUP)
                await until(lambda: "nothing to change" in caplog.text)
        assert reader.state == "ready"


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (Settings(), "admin_keys"),
        (Settings(api_keys=(SecretStr("guest"),)), "admin_keys"),
        (Settings(admin_keys=(SecretStr("master"),)), "(bundles)"),
    ],
)
async def test_what_is_not_configured_is_off_and_says_how_to_switch_it_on(
    tmp_path: Path, settings: Settings, remedy: str
) -> None:
    async with played(tmp_path, settings) as (reader, change):
        transport = httpx.ASGITransport(create_app(reader, change))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"X-API-Key": "master"}
            refusal = await client.post("/v1/model/load", json={"bundle": "2"}, headers=headers)
        assert problem(refusal) == (403, "admin-off")
        assert remedy in refusal.json()["detail"]
