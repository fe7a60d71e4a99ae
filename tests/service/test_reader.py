"""What the reader makes of the failures below it, with an engine that the test plays."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import anyio
import numpy as np
import pytest

from service.crop import Crop
from service.engines.bundle import Bundle
from service.engines.connection import Loaded
from service.engines.engine import Cost, EngineAnswer
from service.engines.protocol import Rows
from service.errors import ProblemType, ServiceError
from service.observability.observer import Observer
from service.reading.reader import Reader
from service.reading.request import ReadRequest
from service.settings.model import Settings
from service.types import ReadOptions
from service.workers.in_flight import BatchFailedError
from service.workers.supervisor import Supervisor
from tests.support.reading import read_one
from tests.support.tiny_service import crop, encoded, tiny_bundle
from tests.support.waiting import until

pytestmark = pytest.mark.slow

VISION_ALONE = ReadOptions(iterations=0)
IMAGE = encoded(crop())


class PlayedEngine:
    """In a supervisor's place: answers every vision call once it may, or with an error."""

    failing = False
    ready = True

    def __init__(self, *, error: Exception | None = None, answers: bool = True) -> None:
        self.crops_seen = 0
        self._error = error
        self.may_answer = asyncio.Event()
        if answers:
            self.may_answer.set()

    async def start(self) -> Loaded:
        # A batch of one is not full, so a second crop waits for the first.
        costs = {1: 0.001, 4: 0.009}
        return Loaded(
            "played", [Cost(kind, *cost) for kind in ("vision", "refine") for cost in costs.items()]
        )

    async def wait_until_ready(self) -> None:
        pass

    async def until_it_is_busy(self) -> None:
        await until(lambda: self.crops_seen)

    async def close(self) -> None:
        pass

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        self.crops_seen += len(columns[0])
        if self._error is not None:
            raise self._error
        await self.may_answer.wait()
        return EngineAnswer([np.zeros((size, 26, 37), np.float32)] * (1 + 2 * times), {"vision": 0.001})


@asynccontextmanager
async def with_reader(engine: PlayedEngine, settings: Settings | None = None) -> AsyncIterator[Reader]:
    reader = Reader(Bundle(str(tiny_bundle())), settings or Settings(), Observer())
    reader.main._engines = [cast(Supervisor, engine)]
    await reader.start()
    try:
        with anyio.fail_after(60):
            yield reader
    finally:
        await reader.stop()


async def problem_of(reading: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as failure:
        await reading
    return failure.value


async def test_a_batch_that_failed_says_how() -> None:
    async with with_reader(PlayedEngine(error=BatchFailedError("the engine raised no memory"))) as reader:
        error = await problem_of(read_one(reader, IMAGE, VISION_ALONE))
        assert (error.problem, error.detail) == (ProblemType.ENGINE_FAILED, "the engine raised no memory.")


async def test_the_deadline_includes_the_engine() -> None:
    async with with_reader(PlayedEngine(answers=False)) as reader:
        error = await problem_of(read_one(reader, IMAGE, VISION_ALONE, timeout_s=0.01))
        assert error.problem is ProblemType.DEADLINE


class OnceAnsweringEngine(PlayedEngine):
    """Answers its first call, and no other."""

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        if self.crops_seen:
            await asyncio.get_running_loop().create_future()
        return await super().run(kind, columns, size, times)


async def test_a_turned_crop_is_late_while_one_of_its_readings_is() -> None:
    async with with_reader(OnceAnsweringEngine()) as reader:
        tall = encoded(crop().transpose(1, 0, 2))
        error = await problem_of(read_one(reader, tall, VISION_ALONE, timeout_s=0.2))
        assert error.problem is ProblemType.DEADLINE
        error = await problem_of(reader.read(ReadRequest([tall, tall], VISION_ALONE, timeout_s=0.2)))
        assert (error.problem, error.crops) == (ProblemType.DEADLINE, 2)


async def test_the_engine_never_sees_a_crop_whose_deadline_passed_in_the_queue() -> None:
    engine = PlayedEngine(answers=False)

    async with with_reader(engine) as reader:
        busy = asyncio.create_task(read_one(reader, IMAGE, VISION_ALONE))
        await engine.until_it_is_busy()
        error = await problem_of(read_one(reader, IMAGE, VISION_ALONE, timeout_s=0.2))
        assert error.problem is ProblemType.DEADLINE
        engine.may_answer.set()
        await asyncio.gather(busy, read_one(reader, IMAGE, VISION_ALONE))
        assert engine.crops_seen == 2


async def test_the_engine_never_sees_a_crop_whose_client_left_the_queue() -> None:
    engine = PlayedEngine(answers=False)

    async with with_reader(engine) as reader:
        busy = asyncio.create_task(read_one(reader, IMAGE, VISION_ALONE))
        await engine.until_it_is_busy()
        hang_up = asyncio.Event()

        async def client_gone() -> None:
            await hang_up.wait()

        leaving = asyncio.create_task(read_one(reader, IMAGE, VISION_ALONE, client_gone=client_gone))
        await until(lambda: reader._room.depth == 1)
        hang_up.set()
        assert (await problem_of(leaving)).problem is ProblemType.CLIENT_GONE
        engine.may_answer.set()
        await asyncio.gather(busy, read_one(reader, IMAGE, VISION_ALONE))
        assert engine.crops_seen == 2


async def test_a_full_queue_refuses_one_crop_and_a_batch_alike() -> None:
    engine = PlayedEngine(answers=False)

    async with with_reader(engine, Settings(max_queue=2, max_batch_items=2)) as reader:
        busy = asyncio.create_task(read_one(reader, IMAGE, VISION_ALONE))
        await engine.until_it_is_busy()
        waiting = asyncio.create_task(reader.read(ReadRequest([IMAGE] * 2, VISION_ALONE)))
        await until(lambda: reader._room.depth == 2)
        for refused in (
            read_one(reader, IMAGE, VISION_ALONE),
            reader.read(ReadRequest([IMAGE] * 2, VISION_ALONE)),
        ):
            error = await problem_of(refused)
            assert (error.problem, error.retry_after) == (ProblemType.QUEUE_FULL, 1)
        busy.cancel()
        waiting.cancel()


async def test_a_batch_keeps_what_was_read_before_its_deadline() -> None:
    class Slowing(PlayedEngine):
        async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
            if self.crops_seen:
                self.may_answer.clear()
            return await super().run(kind, columns, size, times)

    async with with_reader(Slowing()) as reader:
        first, second = await reader.read(ReadRequest([IMAGE] * 2, VISION_ALONE, timeout_s=5.0))
        assert first.words
        assert cast(ServiceError, second.error).problem is ProblemType.DEADLINE


async def test_a_batch_of_which_nothing_was_read_in_time_fails_as_a_whole() -> None:
    async with with_reader(PlayedEngine(answers=False)) as reader:
        error = await problem_of(reader.read(ReadRequest([IMAGE] * 2, VISION_ALONE, timeout_s=0.01)))
        assert (error.problem, error.crops) == (ProblemType.DEADLINE, 2)


async def test_broken_crops_of_a_batch_fail_alone_and_the_order_is_kept() -> None:
    def outcome(crop: Crop) -> object:
        return crop.error.problem if isinstance(crop.error, ServiceError) else len(crop.words)

    async with with_reader(PlayedEngine()) as reader:
        crops = await reader.read(ReadRequest([IMAGE, b"hello", IMAGE, "?"], VISION_ALONE))
        assert [*map(outcome, crops)] == [1, ProblemType.NOT_AN_IMAGE, 1, ProblemType.NOT_AN_IMAGE]


async def test_crops_are_freed_without_the_garbage_collector() -> None:
    async with with_reader(PlayedEngine()) as reader:
        crops = await reader.read(ReadRequest([IMAGE] * 2, VISION_ALONE))
        submission = weakref.ref(crops[0].submission)
        gc.disable()
        try:
            del crops
            await until(lambda: submission() is None)
        finally:
            gc.enable()


async def test_a_service_whose_workers_keep_dying_is_not_ready() -> None:
    engine = PlayedEngine()

    async with with_reader(engine) as reader:
        engine.failing = True
        error = await problem_of(read_one(reader, IMAGE, VISION_ALONE))
        assert (error.problem, error.retry_after) == (ProblemType.NOT_READY, 1)


def test_more_iterations_than_the_bundle_has_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="4 iterations"):
        Reader(Bundle(str(tiny_bundle())), Settings(iterations=4), Observer())
