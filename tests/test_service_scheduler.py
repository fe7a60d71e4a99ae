"""The scheduler with an engine that answers only when the test lets it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from service.engines.engine import Cost
from service.engines.process import Answer
from service.scheduler import Crop, QueueFullError, Scheduler

SHAPE, STEPS, CLASSES = (3, 32, 128), 26, 37
CHEAP_BATCHES = [Cost(kind, batch, 1.0) for kind in ("vision", "refine") for batch in (1, 4)]


class GatedEngine:
    """Holds every call until `let_go`. A crop's logits are its first pixel, plus 1 for each refinement."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.error: Exception | None = None
        self._gate = asyncio.Semaphore(0)

    def let_go(self, calls: int) -> None:
        for _ in range(calls):
            self._gate.release()

    async def run(self, kind: str, tensors: Sequence[np.ndarray]) -> Answer:
        rows = int((tensors[0].reshape(len(tensors[0]), -1) != 0).any(axis=1).sum())
        self.calls.append((kind, rows))
        await self._gate.acquire()
        if self.error is not None:
            raise self.error
        if kind == "vision":
            logits = np.zeros((len(tensors[0]), STEPS, CLASSES), np.float32) + tensors[0][:, :1, 0, :1]
            return Answer([logits, np.ones((len(logits), STEPS, 8), np.float32)], 0.25)
        return Answer([tensors[0] + 0.5, tensors[0] + 1], 0.125)


def image(value: float = 1) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def scheduled(
    test: Callable[[GatedEngine, Scheduler], Awaitable[None]],
    costs: Sequence[Cost] = CHEAP_BATCHES,
    max_queue: int = 8,
) -> None:
    """Runs a test beside a scheduler that serves."""

    async def main() -> None:
        engine = GatedEngine()
        scheduler = Scheduler(engine, costs, max_queue=max_queue)
        serving = asyncio.create_task(scheduler.run())
        await asyncio.wait_for(test(engine, scheduler), 10)
        serving.cancel()

    asyncio.run(main())


def reads(scheduler: Scheduler, *iterations: int, early_stop: bool = False) -> list[asyncio.Task[Crop]]:
    return [
        asyncio.create_task(scheduler.read(image(1 + index), count, early_stop))
        for index, count in enumerate(iterations)
    ]


def test_a_lone_crop_waits_for_nobody() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        (reading,) = reads(scheduler, 1)
        engine.let_go(2)
        crop = await reading
        assert engine.calls == [("vision", 1), ("refine", 1)]
        assert (crop.vision_s, crop.refine_s) == (0.25, 0.125)

    scheduled(test)


def test_crops_that_arrive_while_the_engine_is_busy_share_the_next_batch() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        first = reads(scheduler, 0)
        await settle()
        others = reads(scheduler, 0, 0, 0)
        await settle()
        engine.let_go(2)
        await asyncio.gather(*first, *others)
        assert engine.calls == [("vision", 1), ("vision", 3)]

    scheduled(test)


def test_every_crop_of_a_batch_gets_its_own_logits() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        readings = reads(scheduler, 2, 0, 1, 2)
        engine.let_go(3)
        crops = await asyncio.gather(*readings)
        assert [float(crop.vision[0, 0]) for crop in crops] == [1, 2, 3, 4]
        assert [float(crop.logits[0, 0]) for crop in crops] == [3, 2, 4, 6]
        assert [len(crop.refinements) for crop in crops] == [2, 0, 1, 2]

    scheduled(test)


def test_a_crop_that_is_done_leaves_the_batch() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        readings = reads(scheduler, 0, 1, 3)
        engine.let_go(4)
        await asyncio.gather(*readings)
        assert engine.calls == [("vision", 3), ("refine", 2), ("refine", 1), ("refine", 1)]

    scheduled(test)


def test_with_early_stop_a_settled_crop_leaves_the_batch() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        # The gated engine's words never change, and a threshold this low calls them sure.
        scheduler._threshold = 0.01
        (stopping,), (going_on,) = reads(scheduler, 3, early_stop=True), reads(scheduler, 3)
        engine.let_go(4)
        assert len((await stopping).refinements) == 1
        assert len((await going_on).refinements) == 3
        assert engine.calls[1:] == [("refine", 2), ("refine", 1), ("refine", 1)]

    scheduled(test)


def test_the_queue_is_bounded_in_crops() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        busy = reads(scheduler, 0)
        await settle()
        waiting = reads(scheduler, 0, 0)
        await settle()
        with pytest.raises(QueueFullError):
            await scheduler.read(image(), 0)
        engine.let_go(2)
        await asyncio.gather(*busy, *waiting)

    scheduled(test, max_queue=2)


def test_a_caller_that_gives_up_takes_its_crop_out_of_the_queue() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        busy = reads(scheduler, 0)
        await settle()
        leaving, staying = reads(scheduler, 0, 0)
        await settle()
        leaving.cancel()
        engine.let_go(2)
        await asyncio.gather(*busy, staying)
        assert engine.calls == [("vision", 1), ("vision", 1)]

    scheduled(test)


def test_crops_that_nobody_waits_for_leave_room_in_a_full_queue() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        busy = reads(scheduler, 0)
        await settle()
        (leaving,) = reads(scheduler, 0)
        await settle()
        leaving.cancel()
        await settle()
        staying = reads(scheduler, 0)
        engine.let_go(2)
        await asyncio.gather(*busy, *staying)

    scheduled(test, max_queue=1)


def test_an_error_of_the_engine_reaches_its_batch_and_no_other() -> None:
    async def test(engine: GatedEngine, scheduler: Scheduler) -> None:
        engine.error = RuntimeError("no memory")
        failing = reads(scheduler, 1, 1)
        engine.let_go(1)
        results = await asyncio.gather(*failing, return_exceptions=True)
        assert [str(result) for result in results] == ["no memory", "no memory"]
        engine.error = None
        (reading,) = reads(scheduler, 0)
        engine.let_go(1)
        assert (await reading).vision.shape == (STEPS, CLASSES)

    scheduled(test)
