"""The scheduler with engines that answer only when the test lets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import numpy as np
import pytest

from service.bundle_format.early_stop import EarlyStop
from service.crop import Crop, Room, Submission, Wish
from service.engines.connection import NeverRanError, WorkerDiedError
from service.engines.engine import Cost, EngineAnswer
from service.engines.protocol import Rows
from service.observability.observer import Observer
from service.reading.decode import Decoder
from service.reading.scheduler import QueueFullError, Scheduler, TooLateError
from service.types import ModelName
from service.workers.in_flight import BatchFailedError

SHAPE, STEPS, CLASSES = (3, 32, 128), 26, 37
CHEAP_BATCHES = [Cost(kind, batch, 0.001) for kind in ("vision", "refine") for batch in (1, 4)]
FUSED = [Cost("abinet", batch, 0.001) for batch in (1, 4)]


class GatedEngine:
    """Holds every call until `let_go`. A crop's logits are its first pixel, plus 1 for each refinement."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.times: list[int] = []
        self.error: Exception | None = None
        self.tells: list[Cost] = []
        """Costs that the next answer brings."""
        self.ready = asyncio.Event()
        self.ready.set()
        self._gate = asyncio.Semaphore(0)

    def let_go(self, calls: int) -> None:
        for _ in range(calls):
            self._gate.release()

    async def wait_until_ready(self) -> None:
        await self.ready.wait()

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> EngineAnswer:
        self.calls.append((kind, len(columns[0])))
        self.times.append(times)
        await self._gate.acquire()
        if self.error is not None:
            raise self.error
        return self._answer(kind, columns, size, times)._replace(costs=self._told())

    def _told(self) -> list[Cost]:
        told, self.tells = self.tells, []
        return told

    @staticmethod
    def _answer(kind: str, columns: Sequence[Rows], size: int, times: int) -> EngineAnswer:
        rows = np.zeros((size, *columns[0][0].shape), np.float32)
        rows[: len(columns[0])] = columns[0]
        if kind == "refine":
            return EngineAnswer([rows + step / 2 for step in range(1, 2 * times + 1)], {"refine": 0.125})
        logits = np.zeros((size, STEPS, CLASSES), np.float32) + rows[:, :1, 0, :1]
        if kind == "vision":
            return EngineAnswer([logits, np.ones((size, STEPS, 8), np.float32)], {"vision": 0.25})
        if kind == "read":
            refined = [logits + step / 2 for step in range(1, 2 * times + 1)]
            return EngineAnswer([logits, *refined], {"vision": 0.25, "refine": 0.125})
        refined = [logits + step / 2 for step in range(1, 7)]
        return EngineAnswer([logits, *refined], {"abinet": 0.5})


def image(value: float = 1) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def scheduled(
    costs: list[Cost] = CHEAP_BATCHES,
    max_queue: int = 8,
    vision_threshold: float = 0.98,
    settled_threshold: float = 0.9,
) -> AsyncIterator[tuple[GatedEngine, Scheduler]]:
    """An engine, and a scheduler that serves it."""
    engine = GatedEngine()
    scheduler = new_scheduler(max_queue, vision_threshold, settled_threshold)
    async with serving(scheduler, [engine], costs):
        yield engine, scheduler


@asynccontextmanager
async def on_two_engines() -> AsyncIterator[tuple[GatedEngine, GatedEngine, Scheduler]]:
    one, other, scheduler = GatedEngine(), GatedEngine(), new_scheduler()
    async with serving(scheduler, [one, other], CHEAP_BATCHES):
        yield one, other, scheduler


@asynccontextmanager
async def serving(
    scheduler: Scheduler, engines: Sequence[GatedEngine], costs: list[Cost]
) -> AsyncIterator[None]:
    """A test in it has 10 seconds."""
    tasks = [asyncio.create_task(scheduler.serve(engine, costs)) for engine in engines]
    try:
        with anyio.fail_after(10):
            await settle()
            yield
    finally:
        for task in tasks:
            task.cancel()


def new_scheduler(
    max_queue: int = 8, vision_threshold: float = 0.98, settled_threshold: float = 0.9
) -> Scheduler:
    charset = "abcdefghijklmnopqrstuvwxyz1234567890"
    return Scheduler(
        ModelName(name="tiny", version="1"),
        Decoder(charset),
        Observer(),
        Room(max_queue),
        EarlyStop(vision_threshold, settled_threshold),
    )


def submit(scheduler: Scheduler, *values: float, iterations: int = 0, early_stop: bool = False) -> Submission:
    """One request's crops, whose images have these values."""
    submission = scheduler.admit(len(values), Wish(iterations, early_stop))
    for crop, value in zip(submission.crops, values, strict=True):
        crop.image = image(value)
    scheduler.put(submission.crops)
    return submission


def reads(scheduler: Scheduler, *iterations: int, early_stop: bool = False) -> list[Submission]:
    """Requests of one crop each, with images of 1, 2, 3..."""
    return [
        submit(scheduler, 1 + index, iterations=count, early_stop=early_stop)
        for index, count in enumerate(iterations)
    ]


async def crops_of(submissions: Sequence[Submission]) -> list[Crop]:
    await asyncio.gather(*(submission.done for submission in submissions))
    return [crop for submission in submissions for crop in submission.crops]


async def test_a_lone_crop_waits_for_nobody() -> None:
    async with scheduled() as (engine, scheduler):
        reading = reads(scheduler, 3)
        engine.let_go(1)
        (crop,) = await crops_of(reading)
        assert engine.calls == [("read", 1)]
        assert (crop.vision_s, crop.refine_s) == (0.25, 0.125)


async def test_crops_that_arrive_while_the_engine_is_busy_share_the_next_batch() -> None:
    async with scheduled() as (engine, scheduler):
        first = reads(scheduler, 0)
        await settle()
        others = reads(scheduler, 0, 0, 0)
        engine.let_go(2)
        await crops_of([*first, *others])
        assert engine.calls == [("read", 1), ("read", 3)]


async def test_an_engine_that_has_read_a_batch_waits_a_moment_for_as_many_crops() -> None:
    async with scheduled() as (engine, scheduler):
        engine.let_go(2)
        await crops_of(reads(scheduler, 0, 0, 0, 0))
        first = reads(scheduler, 0)
        await settle()
        assert len(engine.calls) == 1
        await crops_of([*first, *reads(scheduler, 0, 0, 0)])
        assert engine.calls == [("read", 4), ("read", 4)]


async def test_that_moment_ends_also_without_further_crops() -> None:
    async with scheduled() as (engine, scheduler):
        engine.let_go(3)
        await crops_of(reads(scheduler, 0, 0, 0, 0))
        await crops_of(reads(scheduler, 0))
        await crops_of(reads(scheduler, 0))
        assert engine.calls == [("read", 4), ("read", 1), ("read", 1)]


async def test_crops_of_one_request_and_of_many_share_a_batch() -> None:
    async with scheduled() as (engine, scheduler):
        submissions = [submit(scheduler, 1, 2), submit(scheduler, 3), submit(scheduler, 4)]
        engine.let_go(1)
        await crops_of(submissions)
        assert engine.calls == [("read", 4)]


@pytest.mark.parametrize("costs", [CHEAP_BATCHES, FUSED], ids=["stepwise", "fused"])
async def test_every_crop_of_a_batch_gets_its_own_logits(costs: list[Cost]) -> None:
    async with scheduled(costs) as (engine, scheduler):
        readings = reads(scheduler, 2, 0, 1, 2)
        engine.let_go(3)
        crops = await crops_of(readings)
        assert [float(crop.logits[0][0, 0]) for crop in crops] == [1, 2, 3, 4]
        assert [float(crop.logits[-1][0, 0]) for crop in crops] == [3, 2, 4, 6]
        assert [crop.refinements for crop in crops] == [2, 0, 1, 2]
        assert [len(crop.words) for crop in crops] == [5, 1, 3, 5]


async def test_a_crop_that_is_done_leaves_the_batch() -> None:
    async with scheduled() as (engine, scheduler):
        readings = reads(scheduler, 0, 1, 3)
        engine.let_go(3)
        await crops_of(readings)
        assert engine.calls == [("vision", 3), ("refine", 2), ("refine", 1)]


async def test_a_batch_whose_crops_all_want_the_same_is_read_in_one_call() -> None:
    async with scheduled() as (engine, scheduler):
        readings = reads(scheduler, 2, 2)
        engine.let_go(1)
        first, second = await crops_of(readings)
        assert (engine.calls, engine.times) == ([("read", 2)], [2])
        assert (first.refinements, len(first.words)) == (2, 5)
        assert first.words[0].confidence == second.words[0].confidence


async def test_a_batch_is_refined_in_one_call_until_the_first_of_its_crops_is_done() -> None:
    async with scheduled() as (engine, scheduler):
        readings = reads(scheduler, 2, 3)
        engine.let_go(3)
        first, second = await crops_of(readings)
        assert engine.times == [1, 2, 1]
        assert (first.refinements, second.refinements) == (2, 3)


async def test_a_crop_that_may_stop_early_is_looked_at_after_every_refinement() -> None:
    async with scheduled() as (engine, scheduler):
        readings = reads(scheduler, 3, early_stop=True)
        engine.let_go(4)
        await crops_of(readings)
        assert engine.times == [1, 1, 1, 1]


async def test_a_busy_engine_has_the_next_full_batch_already() -> None:
    async with scheduled() as (engine, scheduler):
        readings = reads(scheduler, *[0] * 8)
        await settle()
        assert engine.calls == [("read", 4), ("read", 4)]
        engine.let_go(2)
        await crops_of(readings)


async def test_a_busy_engine_is_given_no_third_batch() -> None:
    async with scheduled(max_queue=12) as (engine, scheduler):
        readings = reads(scheduler, *[0] * 12)
        await settle()
        assert engine.calls == [("read", 4)] * 2
        engine.let_go(3)
        await crops_of(readings)


async def test_refinements_wait_for_company_while_there_are_full_batches_of_new_crops() -> None:
    async with scheduled() as (engine, scheduler):
        first = reads(scheduler, 1, early_stop=True)
        await settle()
        others = reads(scheduler, *[1] * 4, early_stop=True)
        engine.let_go(4)
        await crops_of([*first, *others])
        assert engine.calls == [("vision", 1), ("vision", 4), ("refine", 4), ("refine", 1)]


async def test_refinements_are_passed_over_only_once() -> None:
    async with scheduled(max_queue=16) as (engine, scheduler):
        first = reads(scheduler, 1, early_stop=True)
        await settle()
        others = reads(scheduler, *[0] * 12)
        engine.let_go(5)
        await crops_of([*first, *others])
        assert engine.calls.index(("refine", 1)) <= 3


async def test_with_early_stop_a_settled_crop_leaves_the_batch() -> None:
    # The gated engine's words never change, and a threshold this low calls them sure.
    async with scheduled(settled_threshold=0.01) as (engine, scheduler):
        stopping, going_on = reads(scheduler, 3, early_stop=True), reads(scheduler, 3)
        engine.let_go(3)
        crops = await crops_of([*stopping, *going_on])
        assert [crop.refinements for crop in crops] == [1, 3]
        assert engine.calls[1:] == [("refine", 2), ("refine", 1)]


async def test_with_early_stop_a_crop_that_vision_is_sure_of_is_not_refined() -> None:
    async with scheduled(vision_threshold=0.01) as (engine, scheduler):
        stopping, going_on = reads(scheduler, 3, early_stop=True), reads(scheduler, 3)
        engine.let_go(2)
        crops = await crops_of([*stopping, *going_on])
        assert [crop.refinements for crop in crops] == [0, 3]
        assert engine.calls[1:] == [("refine", 1)]


async def test_early_stop_leaves_out_what_the_fused_graph_computed_too_much() -> None:
    async with scheduled(FUSED, settled_threshold=0.01) as (engine, scheduler):
        stopping, going_on = reads(scheduler, 3, early_stop=True), reads(scheduler, 3)
        engine.let_go(1)
        crops = await crops_of([*stopping, *going_on])
        assert [crop.refinements for crop in crops] == [1, 3]


async def test_a_crop_that_vision_is_sure_of_is_given_no_refinement_of_the_fused_graph() -> None:
    async with scheduled(FUSED, vision_threshold=0.01) as (engine, scheduler):
        stopping, going_on = reads(scheduler, 3, early_stop=True), reads(scheduler, 3)
        engine.let_go(1)
        crops = await crops_of([*stopping, *going_on])
        assert [crop.refinements for crop in crops] == [0, 3]


async def test_the_queue_is_bounded_in_crops() -> None:
    async with scheduled(max_queue=2) as (engine, scheduler):
        busy = reads(scheduler, 0)
        await settle()
        waiting = reads(scheduler, 0, 0)
        with pytest.raises(QueueFullError):
            scheduler.admit(1, Wish(0))
        engine.let_go(2)
        await crops_of([*busy, *waiting])


async def test_a_request_that_does_not_fit_as_a_whole_takes_no_room() -> None:
    async with scheduled(max_queue=3) as (_, scheduler):
        scheduler.admit(2, Wish(0))
        with pytest.raises(QueueFullError, match="2 readings are waiting, and at most 3 may"):
            scheduler.admit(2, Wish(0))
        scheduler.admit(1, Wish(0))


async def test_more_than_the_queue_holds_goes_into_an_empty_one_alone() -> None:
    async with scheduled(max_queue=3) as (_, scheduler):
        large = scheduler.admit(5, Wish(0))
        with pytest.raises(QueueFullError):
            scheduler.admit(1, Wish(0))
        scheduler.give_up(large)
        scheduler.admit(1, Wish(0))
        with pytest.raises(QueueFullError):
            scheduler.admit(5, Wish(0))


async def test_large_requests_leave_room_for_single_crops() -> None:
    async with scheduled(max_queue=64) as (_, scheduler):
        scheduler.admit(60, Wish(0))
        with pytest.raises(QueueFullError):
            scheduler.admit(60, Wish(0))
        scheduler.admit(4, Wish(0))
        scheduler.admit(4, Wish(0))
        scheduler.admit(4, Wish(0))
        with pytest.raises(QueueFullError):
            scheduler.admit(1, Wish(0))


async def test_what_is_still_being_decoded_takes_room_until_it_is_given_up() -> None:
    async with scheduled(max_queue=2) as (_, scheduler):
        decoding = scheduler.admit(2, Wish(0))
        scheduler.give_up(decoding)
        scheduler.admit(2, Wish(0))


async def test_a_crop_that_could_not_be_decoded_fails_alone() -> None:
    async with scheduled() as (engine, scheduler):
        submission = scheduler.admit(2, Wish(0))
        broken, sound = submission.crops
        broken.error, sound.image = ValueError("broken"), image()
        scheduler.put(submission.crops)
        engine.let_go(1)
        await submission.done
        assert engine.calls == [("read", 1)]
        assert (broken.words, len(sound.words)) == ([], 1)


async def test_the_engine_never_sees_what_was_given_up_in_the_queue() -> None:
    async with scheduled() as (engine, scheduler):
        busy = reads(scheduler, 0)
        await settle()
        leaving, staying = reads(scheduler, 0, 0)
        scheduler.give_up(leaving)
        engine.let_go(2)
        await crops_of([*busy, staying])
        assert engine.calls == [("read", 1), ("read", 1)]


async def test_a_crop_given_up_while_the_engine_runs_it_is_not_refined() -> None:
    async with scheduled() as (engine, scheduler):
        leaving, staying = reads(scheduler, 3, 1)
        await settle()
        scheduler.give_up(leaving)
        engine.let_go(2)
        await staying.done
        await settle()
        assert engine.calls == [("vision", 2), ("refine", 1)]


async def test_a_crop_given_up_between_refinements_is_not_refined_further() -> None:
    async with scheduled() as (engine, scheduler):
        (leaving,) = reads(scheduler, 3, early_stop=True)
        engine.let_go(1)
        await settle()
        blocking = reads(scheduler, 0)
        scheduler.give_up(leaving)
        engine.let_go(2)
        await crops_of(blocking)
        assert engine.calls == [("vision", 1), ("refine", 1), ("read", 1)]


async def test_crops_that_nobody_waits_for_leave_room_in_a_full_queue() -> None:
    async with scheduled(max_queue=1) as (engine, scheduler):
        busy = reads(scheduler, 0)
        await settle()
        (leaving,) = reads(scheduler, 0)
        scheduler.give_up(leaving)
        staying = reads(scheduler, 0)
        engine.let_go(2)
        await crops_of([*busy, *staying])


async def test_an_error_of_the_engine_reaches_its_batch_and_no_other() -> None:
    async with scheduled() as (engine, scheduler):
        engine.error = RuntimeError("no memory")
        failing = reads(scheduler, 1, 1)
        engine.let_go(1)
        assert [str(crop.error) for crop in await crops_of(failing)] == ["no memory", "no memory"]
        engine.error = None
        reading = reads(scheduler, 0)
        engine.let_go(1)
        (crop,) = await crops_of(reading)
        assert crop.words


async def test_a_batch_whose_worker_dies_twice_fails_with_the_reason() -> None:
    async with scheduled() as (engine, scheduler):
        engine.error = WorkerDiedError("signal 9")
        failing = reads(scheduler, 1)
        engine.let_go(2)
        (crop,) = await crops_of(failing)
        assert isinstance(crop.error, BatchFailedError)
        assert "signal 9" in str(crop.error)
        assert engine.calls == [("read", 1)] * 2


async def test_a_batch_that_never_ran_because_another_killed_the_worker_is_not_to_blame() -> None:
    async with scheduled() as (engine, scheduler):
        engine.error = NeverRanError("signal 9")
        reading = reads(scheduler, 0)
        engine.let_go(3)
        await settle()
        engine.error = None
        engine.let_go(1)
        (crop,) = await crops_of(reading)
        assert crop.words


async def test_a_batch_whose_worker_dies_while_refining_is_refined_again() -> None:
    async with scheduled() as (engine, scheduler):
        reading = reads(scheduler, 1, early_stop=True)
        engine.let_go(1)
        await settle()
        engine.error = WorkerDiedError("signal 9")
        engine.let_go(1)
        await settle()
        engine.error = None
        engine.let_go(1)
        (crop,) = await crops_of(reading)
        assert engine.calls == [("vision", 1), ("refine", 1), ("refine", 1)]
        assert crop.refinements == 1


async def test_a_single_crop_does_not_wait_for_all_crops_of_a_request_that_came_before() -> None:
    async with scheduled(max_queue=64) as (engine, scheduler):
        batches = [submit(scheduler, *[1] * 16) for _ in range(2)]
        await settle()
        (single,) = reads(scheduler, 0)
        engine.let_go(3)
        await single.done
        assert not any(batch.done.done() for batch in batches)
        engine.let_go(6)
        await crops_of(batches)


async def test_crops_of_a_request_that_came_before_are_not_put_off_for_ever() -> None:
    async with scheduled(max_queue=64) as (engine, scheduler):
        batch = submit(scheduler, *[1] * 8)
        await asyncio.sleep(0.2)
        singles = reads(scheduler, *[0] * 16)
        engine.let_go(2)
        await batch.done
        engine.let_go(4)
        await crops_of(singles)


SLOW_BATCHES = [Cost(kind, batch, 1.0) for kind in ("vision", "refine") for batch in (1, 4)]


async def test_what_cannot_be_read_by_its_deadline_is_refused_on_arrival() -> None:
    async with scheduled(SLOW_BATCHES, max_queue=64) as (engine, scheduler):
        busy = reads(scheduler, 0)
        await settle()
        with pytest.raises(QueueFullError, match=r"would not be read in the 1\.5 s"):
            scheduler.admit(1, Wish(0), timeout_s=1.5)
        with pytest.raises(QueueFullError):
            scheduler.admit(8, Wish(0), timeout_s=3.0)
        scheduler.give_up(scheduler.admit(1, Wish(0), timeout_s=3.0))
        engine.let_go(1)
        await crops_of(busy)


async def test_an_idle_engine_tries_whatever_deadline_there_is() -> None:
    async with scheduled(SLOW_BATCHES) as (engine, scheduler):
        await settle()
        submission = scheduler.admit(1, Wish(0), timeout_s=0.1)
        submission.crops[0].image = image()
        scheduler.put(submission.crops)
        engine.let_go(1)
        assert (await crops_of([submission]))[0].words


async def test_a_crop_that_would_be_late_is_dropped_and_the_engine_reads_the_next() -> None:
    async with scheduled() as (engine, scheduler):
        busy = reads(scheduler, 0)
        await settle()
        late = scheduler.admit(1, Wish(0), timeout_s=0.1)
        late.crops[0].image = image()
        scheduler.put(late.crops)
        others = reads(scheduler, 0)
        await asyncio.sleep(0.2)
        engine.let_go(2)
        await crops_of([*busy, *others])
        (crop,) = await crops_of([late])
        assert isinstance(crop.error, TooLateError)
        assert engine.calls == [("read", 1)] * 2


async def test_an_idle_engine_takes_what_arrives_while_the_other_is_busy() -> None:
    async with on_two_engines() as (one, other, scheduler):
        first = reads(scheduler, 0)
        await settle()
        second = reads(scheduler, 0)
        await settle()
        assert one.calls == other.calls == [("read", 1)]
        one.let_go(1)
        other.let_go(1)
        await crops_of([*first, *second])


async def test_a_batch_whose_worker_dies_is_run_by_another_engine() -> None:
    async with on_two_engines() as (dying, other, scheduler):
        reading = reads(scheduler, 0)
        await settle()
        dying.error = WorkerDiedError("signal 9")
        dying.ready.clear()
        dying.let_go(1)
        other.let_go(1)
        (crop,) = await crops_of(reading)
        assert dying.calls == other.calls == [("read", 1)]
        assert crop.words


async def test_an_engine_that_is_down_takes_no_crops() -> None:
    async with on_two_engines() as (down, other, scheduler):
        down.ready.clear()
        other.let_go(2)
        for _ in range(2):
            await crops_of(reads(scheduler, 0))
        assert (down.calls, other.calls) == ([], [("read", 1)] * 2)


async def test_an_engine_that_is_down_does_not_keep_another_from_working_ahead() -> None:
    async with on_two_engines() as (down, other, scheduler):
        down.ready.clear()
        readings = reads(scheduler, *[0] * 8)
        await settle()
        assert other.calls == [("read", 4)] * 2
        other.let_go(2)
        await crops_of(readings)


async def test_batch_sizes_that_are_compiled_one_by_one_are_used_at_any_stage_of_it() -> None:
    costs = [Cost(kind, 1, 1.0) for kind in ("vision", "refine")]
    async with scheduled(costs, max_queue=64) as (engine, scheduler):
        for told in [Cost("vision", 16, 1.0), Cost("refine", 16, 1.0), Cost("vision", 4, 0.1)]:
            engine.tells = [told]
            engine.let_go(64)
            await crops_of(reads(scheduler, 1))
            for count in (1, 4, 16):
                crops = await crops_of(reads(scheduler, *[1] * count))
                assert [crop.error for crop in crops] == [None] * count


async def test_a_batch_size_that_was_compiled_later_is_known_to_whoever_serves_the_engine_next() -> None:
    costs = [Cost(kind, 1, 1.0) for kind in ("vision", "refine")]
    for told in [Cost("vision", 4, 2.0)], []:
        async with scheduled(costs) as (engine, scheduler):
            engine.tells = told
            engine.let_go(8)
            await crops_of(reads(scheduler, 0))
            assert list(scheduler.batch_costs[0]["vision"]) == [1, 4]
