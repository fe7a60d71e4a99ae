"""Continuous batching: crops of many requests share the engines' batches, stage by stage."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from service.batching import BatchSizes
from service.decode import Decoder, Prediction, settled, sure
from service.engines.engine import Answer, Cost
from service.engines.line import NeverRanError, WorkerDiedError
from service.engines.protocol import SLOTS, Rows
from service.observer import Observer
from service.schemas import ModelName


class QueueFullError(Exception):
    """The crops of a request do not fit into the queue's room."""


class BatchFailedError(Exception):
    """A batch that the engine could not run, also not when it was tried a second time."""


class Engine(Protocol):
    """One device: what runs graphs of fixed batch size (see service.engines.engine.Engine.run)."""

    async def wait_until_ready(self) -> None: ...

    async def run(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> Answer:
        """Makes one call with rows padded to a batch of `size`.

        Raises WorkerDiedError where the call may be tried again, BatchFailedError where not.
        """


class Wish(NamedTuple):
    """What a request wants to know of its crops: `detail` means every stage and not only the last."""

    iterations: int
    early_stop: bool = False
    detail: bool = True


class Room:
    """How many crops may wait for their first batch, and how many do, whichever schedulers they wait in.

    A crop that is read several ways up counts as so many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.depth = 0


class Submission:
    """The crops of one request for one model, and the promise that each will be read or fail."""

    def __init__(self, count: int, wish: Wish, model: ModelName) -> None:
        self.wish = wish
        self.model = model
        self.started = time.perf_counter()
        self.given_up = False
        """Nobody waits any more: what is left of the work is dropped."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.crops = [Crop(self) for _ in range(count)]
        self.unfinished = count

    def finish_one(self) -> None:
        self.unfinished -= 1
        if not self.unfinished and not self.done.done():
            self.done.set_result(None)


class Crop:
    """One crop on its way through the engines, and in the end what the network said about it.

    One that is read several ways up is several of these: `turned` is by how many degrees clockwise.

    `image` is (3, 32, 128), normalised; `logits` are (T, C): of vision, then of language and fusion for each
    refinement. Times are seconds; `since` is when the crop last began to wait, in the end when it was done.
    """

    __slots__ = (
        "batch_s",
        "decode_s",
        "error",
        "features",
        "image",
        "is_waiting",
        "logits",
        "predictions",
        "queue_s",
        "refine_s",
        "retried",
        "since",
        "submission",
        "turned",
        "vision_s",
    )

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.turned = 0
        self.image: np.ndarray | None = None
        self.features: np.ndarray | None = None
        self.logits: list[np.ndarray] = []
        self.predictions: list[Prediction] = []
        self.error: Exception | None = None
        self.is_waiting = True
        self.retried = False
        self.since = submission.started
        self.decode_s = self.queue_s = self.batch_s = self.vision_s = self.refine_s = 0.0

    @property
    def refinements(self) -> int:
        """How many have run."""
        return len(self.logits) // 2

    def take_times(self, other: Crop) -> None:
        """Its times are those of another from now on."""
        self.since, self.decode_s, self.queue_s = other.since, other.decode_s, other.queue_s
        self.batch_s, self.vision_s, self.refine_s = other.batch_s, other.vision_s, other.refine_s


class _Lane:
    """One engine, and what it has been given to do."""

    def __init__(self, engine: Engine, costs: Sequence[Cost]) -> None:
        self.engine = engine
        kinds = {cost.kind for cost in costs}
        self.sizes = {kind: BatchSizes(cost for cost in costs if cost.kind == kind) for kind in kinds}
        self.first = "abinet" if "abinet" in kinds else "vision"
        self.reads = {"vision", "refine"} <= kinds and self.sizes["vision"].all <= self.sizes["refine"].all
        """Whether vision and refinements of a batch may be one call."""
        self.is_up = False
        self.calls: set[asyncio.Task[None]] = set()
        self.has_passed_over = False
        """Its last batch was of new crops, while there were refinements to be done."""

    @property
    def is_idle(self) -> bool:
        return self.is_up and not self.calls

    def call(self, kind: str, crops: list[Crop]) -> tuple[str, int]:
        """What to have the engine do with a batch for a graph, and how often, before anybody need look.

        Until the first of the crops is, or may be, done; if that is true of all at once, from images on.
        """
        left = {crop.submission.wish.iterations - crop.refinements for crop in crops}
        if any(crop.submission.wish.early_stop for crop in crops):
            return kind, 1
        if kind == "vision" and self.reads and len(left) == 1:
            return "read", left.pop()
        return kind, min(left) if kind == "refine" else 1

    def largest(self, kind: str) -> int:
        """The largest batch size of a graph."""
        return self.sizes[kind].largest if kind in self.sizes else 0


class Scheduler:
    """Runs crops through one model's engines, none of which waits while there are crops.

    An idle engine takes what is there at once; while all are busy, crops gather for the next batch. Work that
    has begun goes first: a refinement costs a tenth of the vision model. Only while there are full batches of
    new crops, every other one may go before a refinement whose batch would not be full. A crop that nobody
    waits for is dropped wherever it is.
    """

    def __init__(
        self,
        model: ModelName,
        decode: Decoder,
        observer: Observer,
        room: Room,
        *,
        vision_threshold: float = 0.98,
        settled_threshold: float = 0.9,
    ) -> None:
        self._model = model
        self._decode = decode
        self._observer = observer
        self._room = room
        self._vision_threshold = vision_threshold
        self._settled_threshold = settled_threshold
        self._waiting: deque[Crop] = deque()
        self._refining: deque[Crop] = deque()
        self._lanes: list[_Lane] = []
        self._changed = asyncio.Event()

    def admit(self, count: int, wish: Wish) -> Submission:
        """Keeps room for a request's crops, which are in the queue from now on. Raises QueueFullError.

        Into an empty queue goes even what is more than the room: it would never be taken otherwise.
        """
        room = self._room
        if room.depth and room.depth + count > room.limit:
            raise QueueFullError(f"{room.depth} readings are waiting, {room.limit} may")
        room.depth += count
        self._note_depth()
        return Submission(count, wish, self._model)

    def put(self, crops: Iterable[Crop]) -> None:
        """Crops that have their image, or an error in its place."""
        now = time.perf_counter()
        for crop in crops:
            if crop.submission.given_up:
                continue
            crop.decode_s = now - crop.since
            crop.since = now
            if crop.error is None:
                self._waiting.append(crop)
            else:
                self._leave_queue(crop)
                crop.submission.finish_one()
        self._note_depth()
        self._changed.set()

    def give_up(self, submission: Submission) -> None:
        """Drops what is left of a request; nothing is left of one that is done."""
        if not submission.unfinished:
            return
        submission.given_up = True
        for crop in submission.crops:
            self._leave_queue(crop)
        self._note_depth()
        for queue in (self._waiting, self._refining):
            wanted = [crop for crop in queue if crop.submission is not submission]
            queue.clear()
            queue.extend(wanted)

    async def serve(self, engine: Engine, costs: Sequence[Cost]) -> None:
        """Serves crops on one engine, whose graphs cost this, until it is cancelled."""
        lane = _Lane(engine, costs)
        self._lanes.append(lane)
        try:
            while True:
                lane.is_up = False
                await engine.wait_until_ready()
                lane.is_up = True
                batch = self._next_batch(lane)
                if batch is None:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                call = asyncio.create_task(self._run(lane, *batch))
                lane.calls.add(call)
                call.add_done_callback(lane.calls.discard)
                call.add_done_callback(lambda _: self._changed.set())
                # Others may work ahead now.
                self._changed.set()
        finally:
            self._lanes.remove(lane)
            for call in lane.calls:
                call.cancel()

    def _next_batch(self, lane: _Lane) -> tuple[str, list[Crop], int] | None:
        """What this lane's engine should run next, if anything: a graph, crops and the batch size.

        A busy engine is given a second call, so that it need not wait for us in between, but only a full one:
        with what arrives until it is free, others might still fill up.
        """
        is_busy = bool(lane.calls)
        if len(lane.calls) >= SLOTS or (is_busy and any(other.is_idle for other in self._lanes)):
            return None
        refining, waiting = len(self._refining), len(self._waiting)
        is_full = {
            "refine": refining >= lane.largest("refine"),
            lane.first: waiting >= lane.largest(lane.first),
        }
        if refining and (is_full["refine"] or not is_full[lane.first] or lane.has_passed_over):
            kind, queue = "refine", self._refining
        elif waiting:
            kind, queue = lane.first, self._waiting
        else:
            return None
        if is_busy and not is_full[kind]:
            return None
        lane.has_passed_over = kind != "refine" and refining > 0
        size = lane.sizes[kind].next(len(queue))
        return kind, [queue.popleft() for _ in range(min(size, len(queue)))], size

    async def _run(self, lane: _Lane, kind: str, crops: list[Crop], size: int) -> None:
        started = time.perf_counter()
        for crop in crops:
            self._leave_queue(crop)
            crop.queue_s += started - crop.since
        self._note_depth()
        kind, times = lane.call(kind, crops)
        try:
            answer = await lane.engine.run(kind, _columns(kind, crops), size, times)
            for graph, seconds in answer.took.items():
                self._observer.batch(graph, len(crops), size, seconds)
            _note_times(crops, answer, started)
            self._take(kind, crops, answer.tensors)
        except WorkerDiedError as error:
            self._try_again(kind, crops, error)
        except Exception as error:
            _fail(crops, error)

    def _try_again(self, kind: str, crops: list[Crop], error: WorkerDiedError) -> None:
        """The batch goes back to where it came from, for any engine; a crop that was there twice fails."""
        now, has_run = time.perf_counter(), not isinstance(error, NeverRanError)
        queue = self._refining if kind == "refine" else self._waiting
        for crop in reversed(crops):
            if crop.retried and has_run:
                _fail([crop], BatchFailedError(f"{error}, twice on the same crop"))
            elif not crop.submission.given_up:
                crop.retried = crop.retried or has_run
                crop.since = now
                queue.appendleft(crop)

    def _take(self, kind: str, crops: list[Crop], tensors: list[np.ndarray]) -> None:
        """What an engine said about these crops: which of them are done, and which go on."""
        if kind == "refine":
            self._add_refinements(crops, tensors)
        elif kind == "vision":
            is_sure = self._sure(crops, tensors[0][: len(crops)])
            done = []
            for crop, stops, logits, features in zip(crops, is_sure, *tensors, strict=False):
                crop.logits.append(logits)
                crop.features = features
                if stops or not crop.submission.wish.iterations:
                    done.append(crop)
            self._pass_on(crops, done)
        elif kind == "read":
            self._take_readings(crops, tensors)
        else:
            self._take_all(crops, tensors)

    def _add_refinements(self, crops: list[Crop], tensors: list[np.ndarray]) -> None:
        """Language and fused logits of one iteration, or of several where no crop may stop early."""
        before = np.stack([crop.logits[-1] for crop in crops])
        is_settled = self._settled(crops, before, tensors[-1][: len(crops)])
        done = []
        for crop, stops, *logits in zip(crops, is_settled, *tensors, strict=False):
            crop.logits += logits
            if stops or crop.refinements >= crop.submission.wish.iterations:
                done.append(crop)
        self._pass_on(crops, done)

    def _take_readings(self, crops: list[Crop], tensors: list[np.ndarray]) -> None:
        """All stages of crops that are done now."""
        wanted = tensors if any(crop.submission.wish.detail for crop in crops) else tensors[-1:]
        predictions = self._decode(np.concatenate([tensor[: len(crops)] for tensor in wanted]))
        for index, crop in enumerate(crops):
            crop.logits = [tensor[index] for tensor in tensors]
            stages = predictions[index :: len(crops)]
            crop.predictions = stages if crop.submission.wish.detail else stages[-1:]
            if not crop.submission.given_up:
                crop.submission.finish_one()

    def _take_all(self, crops: list[Crop], tensors: list[np.ndarray]) -> None:
        before, *rest = (tensor[: len(crops)] for tensor in tensors)
        wished = np.array([crop.submission.wish.iterations for crop in crops])
        going_on = np.where(self._sure(crops, before), 0, wished)
        for crop, logits in zip(crops, before, strict=True):
            crop.logits.append(logits)
        for language, fused in zip(rest[0::2], rest[1::2], strict=True):
            is_settled = self._settled(crops, before, fused)
            for index in np.flatnonzero(going_on > 0):
                crops[index].logits += (language[index], fused[index])
            going_on = np.where(is_settled, 0, going_on - 1)
            before = fused
        self._pass_on(crops, crops)

    def _sure(self, crops: list[Crop], logits: np.ndarray) -> np.ndarray:
        """Which crops may stop after vision and have reason to."""
        may_stop = _may_stop(crops)
        return may_stop & sure(logits, self._vision_threshold) if may_stop.any() else may_stop

    def _settled(self, crops: list[Crop], before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Which crops may stop after a refinement and have reason to."""
        may_stop = _may_stop(crops)
        return may_stop & settled(before, after, self._settled_threshold) if may_stop.any() else may_stop

    def _pass_on(self, crops: list[Crop], done: list[Crop]) -> None:
        wanted = [crop for crop in done if not crop.submission.given_up]
        if wanted:
            stages = [crop.logits if crop.submission.wish.detail else crop.logits[-1:] for crop in wanted]
            predictions = self._decode(np.stack([logits for stage in stages for logits in stage]))
            end = 0
            for crop, stage in zip(wanted, stages, strict=True):
                end += len(stage)
                crop.predictions = predictions[end - len(stage) : end]
                crop.submission.finish_one()
        if len(done) < len(crops):
            finished = set(done)
            self._refining.extend(
                crop for crop in crops if crop not in finished and not crop.submission.given_up
            )

    def _leave_queue(self, crop: Crop) -> None:
        if crop.is_waiting:
            crop.is_waiting = False
            self._room.depth -= 1

    def _note_depth(self) -> None:
        self._observer.depth(self._room.depth)


def _fail(crops: list[Crop], error: Exception) -> None:
    for crop in crops:
        crop.error = error
        if not crop.submission.given_up:
            crop.submission.finish_one()


def _note_times(crops: list[Crop], answer: Answer, started: float) -> None:
    now, refine_s = time.perf_counter(), answer.took.get("refine", 0.0)
    vision_s = answer.seconds - refine_s
    batch_s = max(0.0, now - started - answer.seconds)
    for crop in crops:
        crop.batch_s += batch_s
        crop.vision_s += vision_s
        crop.refine_s += refine_s
        crop.since = now


def _may_stop(crops: list[Crop]) -> np.ndarray:
    return np.array([crop.submission.wish.early_stop for crop in crops])


def _columns(kind: str, crops: list[Crop]) -> list[Rows]:
    if kind != "refine":
        return [[crop.image for crop in crops if crop.image is not None]]
    features = [crop.features for crop in crops if crop.features is not None]
    return [[crop.logits[-1] for crop in crops], features]
