"""Continuous batching: crops of many requests share the engines' batches, stage by stage."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from service.bundle_format.early_stop import EarlyStop
from service.crop import Crop, Room, Submission, Wish
from service.engines.connection import NeverRanError, WorkerDiedError
from service.engines.engine import Cost, EngineAnswer
from service.engines.protocol import SLOTS, Rows
from service.observability.observer import Observer
from service.reading.batch_sizes import BatchCosts
from service.reading.decode import Decoder, settled, sure
from service.reading.due_queue import DueQueue
from service.reading.pace import Pace
from service.types import ModelName
from service.workers.in_flight import BatchFailedError, EngineClient

_APART = 8
"""The due times of a request's crops lie this many times a crop's cost apart, so that other crops fit
between.
"""
_READINGS_OF_A_CROP = 4
"""Of a crop that is read every way up."""
_SPREAD = 0.5
"""The last crop is due at the latest after this part of the time that the request has."""
_SPARE = 0.25
"""A request is admitted if this part of a batch's time is expected to be left at its deadline."""
_AHEAD_S = 0.02
"""An engine gets its next call so long before it is free."""
_GATHERS = 0.04
"""For this part of its last batch's time an engine waits for as many new crops as that batch had."""
_WEIGHT = 0.05
"""Weight of the latest crop in the average number of refinements after which crops stop early."""


class QueueFullError(Exception):
    """The crops of a request do not fit into the queue's room, or cannot be read by its deadline.

    `again_s`: after how many seconds the client should try again.
    """

    def __init__(self, reason: str, again_s: float = 1.0) -> None:
        super().__init__(reason)
        self.again_s = again_s


class TooLateError(Exception):
    """A crop that could no longer be read by its deadline."""


class _Lane:
    """One engine, and the calls that it has been given."""

    def __init__(self, engine: EngineClient, costs: list[Cost]) -> None:
        self.engine = engine
        self._costs = costs
        self.pace = Pace(costs)
        self.sizes = self.pace.sizes
        kinds = set(self.sizes)
        self.first = "abinet" if "abinet" in kinds else "vision"
        self.is_up = False
        self.calls: set[asyncio.Task[None]] = set()
        self.wake: asyncio.TimerHandle | None = None
        self.has_passed_over = False
        """Whether its last batch was of new crops although refinements were waiting."""
        self.gathers = (0, 0.0)
        """How many new crops it waits for, and until when."""

    @property
    def is_idle(self) -> bool:
        return self.is_up and not self.calls

    @property
    def reads(self) -> bool:
        """Whether vision and refinements of a batch may be one call."""
        return (
            self.sizes.keys() >= {"vision", "refine"} and self.sizes["vision"].all <= self.sizes["refine"].all
        )

    def add(self, costs: Iterable[Cost]) -> None:
        """Takes in batch sizes that the engine has compiled only now."""
        for cost in costs:
            self._costs.append(cost)
            self.sizes[cost.kind].add(cost.batch, cost.seconds)

    def call(self, kind: str, crops: list[Crop]) -> tuple[str, int]:
        """What the engine should run for a batch of a graph, and how often.

        A call ends when the first of the crops is done or may stop. If all are done at once, one call reads
        them from the images on.
        """
        left = {crop.submission.wish.iterations - crop.refinements for crop in crops}
        if any(crop.submission.wish.early_stop for crop in crops):
            return kind, 1
        if kind == "vision" and self.reads and len(left) == 1:
            return "read", left.pop()
        return kind, min(left) if kind == "refine" else 1

    def need(self, kind: str, crop: Crop, size: int) -> float:
        """The least seconds that it takes to finish a crop whose next batch has this size."""
        wish = crop.submission.wish
        if kind == "refine":
            return self.pace.call(kind, size, 1 if wish.early_stop else wish.iterations - crop.refinements)
        return self.pace.batch(size, 0 if wish.early_stop else wish.iterations)

    def largest(self, kind: str) -> int:
        """The largest batch size of a graph."""
        return self.sizes[kind].largest if kind in self.sizes else 0


class Scheduler:
    """Runs crops through one model's engines, none of which waits while there are crops.

    An idle engine takes the crops that are there at once, except for a moment after a batch (_gathers); while
    all engines are busy, crops gather for the next batch. Refinements go first, because one costs a tenth of
    the vision model. But if new crops fill a batch and refinements do not, every other batch may be of new
    crops. A crop that nobody waits for is dropped wherever it is.

    The due times of one request's crops lie apart, so that crops of others come in between. Crops that will
    not be read by their deadline are refused on arrival, or dropped when an engine could take them: work on
    crops that then expire is lost.
    """

    def __init__(
        self,
        model: ModelName,
        decode: Decoder,
        observer: Observer,
        room: Room,
        early_stop: EarlyStop,
    ) -> None:
        self._model = model
        self._decode = decode
        self._observer = observer
        self._room = room
        self._early_stop = early_stop
        self._waiting: DueQueue[Crop] = DueQueue()
        self._refining: deque[Crop] = deque()
        self._lanes: list[_Lane] = []
        self._usual_stop = 1.0
        self._changed = asyncio.Event()

    @property
    def batch_costs(self) -> list[BatchCosts]:
        """What batches cost on each engine, by its latest calls."""
        return [
            {kind: dict(sorted(sizes.seconds.items())) for kind, sizes in sorted(lane.sizes.items())}
            for lane in self._lanes
        ]

    def admit(self, count: int, wish: Wish, timeout_s: float = math.inf) -> Submission:
        """Keeps room for a request's crops, which are in the queue from now on. Raises QueueFullError.

        An empty queue takes even a request that is larger than the room, which would otherwise never be
        taken. A single crop may use an eighth more than the room, so that large requests do not keep it out.
        """
        room = self._room
        limit = room.limit + (room.limit // 8 if count <= _READINGS_OF_A_CROP else 0)
        if room.depth and room.depth + count > limit:
            raise QueueFullError(f"{room.depth} readings are waiting, and at most {room.limit} may")
        lanes = [lane for lane in self._lanes if lane.is_up]
        apart_s = 0.0
        if lanes and count > 1:
            apart_s = min(_APART * self._crop_s(lanes, wish), _SPREAD * timeout_s / count)
        if lanes and timeout_s < math.inf:
            expected_s = self._expected_s(lanes, count, wish, (count - 1) * apart_s)
            if expected_s > timeout_s:
                raise QueueFullError(
                    f"The crops would not be read in the {timeout_s:g} s that they have",
                    expected_s - timeout_s,
                )
        room.depth += count
        self._note_depth()
        return Submission(count, wish, self._model, timeout_s, apart_s)

    def _crop_s(self, lanes: Sequence[_Lane], wish: Wish) -> float:
        """What a crop costs all engines together, in full batches."""
        return 1 / sum(
            lane.largest(lane.first) / lane.pace.batch(lane.largest(lane.first), self._iterations(wish))
            for lane in lanes
        )

    def _iterations(self, wish: Wish) -> float:
        """Refinements that a crop is expected to need."""
        return min(wish.iterations, self._usual_stop) if wish.early_stop else wish.iterations

    def _expected_s(self, lanes: Sequence[_Lane], count: int, wish: Wish, last_due_s: float) -> float:
        """In how many seconds the last crop of a request is expected to be read, with some time to spare.

        0 if an engine is idle: it tries, whatever was measured.
        """
        if not self._room.depth and not self._refining and any(lane.is_idle for lane in lanes):
            return 0.0
        now, iterations = time.perf_counter(), self._iterations(wish)
        decoding = max(0, self._room.depth - len(self._waiting))
        last = decoding + self._waiting.before(now + last_due_s) + count
        lane = lanes[0]
        size = lane.largest(lane.first)
        batch_s = lane.pace.batch(size, iterations)
        left = sum(one.pace.left(now) for one in lanes) + self._refining_s(lane)
        before_s = (left + (last - 1) // size * batch_s) / len(lanes)
        return before_s + (1 + _SPARE) * batch_s

    def _refining_s(self, lane: _Lane) -> float:
        """Seconds that one engine needs for all waiting refinements."""
        if not self._refining:
            return 0.0
        size = lane.largest("refine")
        times = sum(
            max(1.0, self._iterations(crop.submission.wish) - crop.refinements) for crop in self._refining
        )
        return times / size * lane.pace.call("refine", size)

    def put(self, crops: Iterable[Crop]) -> None:
        """Takes crops that have their image, or an error instead of it."""
        now = time.perf_counter()
        for crop in crops:
            if crop.submission.given_up:
                continue
            crop.decode_s = now - crop.since
            crop.since = now
            if crop.error is None:
                self._waiting.add(crop)
            else:
                self._leave_queue(crop)
                crop.submission.finish_one()
        self._note_depth()
        self._changed.set()

    def give_up(self, submission: Submission) -> None:
        """Drops the unfinished crops of a request."""
        if not submission.unfinished:
            return
        submission.given_up = True
        for crop in submission.crops:
            self._leave_queue(crop)
        self._note_depth()
        self._waiting.keep(lambda crop: crop.submission is not submission)
        self._refining = deque(crop for crop in self._refining if crop.submission is not submission)

    async def serve(self, engine: EngineClient, costs: list[Cost]) -> None:
        """Serves crops on one engine, whose graphs have these costs, until it is cancelled.

        The worker tells each cost once: those that its answers bring are added to the list, for whoever
        serves on this engine next.
        """
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
                self._begin(lane, *batch)
                # Others may work ahead now.
                self._changed.set()
        finally:
            self._lanes.remove(lane)
            if lane.wake is not None:
                lane.wake.cancel()
            for call in lane.calls:
                call.cancel()

    def _begin(self, lane: _Lane, kind: str, crops: list[Crop], size: int) -> None:
        """Calls the engine with a batch."""
        graphs, times = lane.call(kind, crops)
        lane.pace.begin(graphs, size, times, time.perf_counter())
        call = asyncio.create_task(self._run(lane, graphs, times, crops, size))
        lane.calls.add(call)
        call.add_done_callback(lane.calls.discard)
        call.add_done_callback(lambda _: self._changed.set())

    def _next_batch(self, lane: _Lane) -> tuple[str, list[Crop], int] | None:
        """What this lane's engine should run next, if anything: a graph, crops and the batch size.

        A busy engine gets a second call, so that it does not wait for us between two calls. The second batch
        must be full, because a smaller one may still grow until the engine is free. It is sent only shortly
        before the engine is free, so that crops that arrive until then can be in it.
        """
        is_busy = bool(lane.calls)
        if len(lane.calls) >= SLOTS or (is_busy and any(other.is_idle for other in self._lanes)):
            return None
        if is_busy and self._is_early(lane):
            return None
        refining, waiting = len(self._refining), len(self._waiting)
        is_full = {
            "refine": refining >= lane.largest("refine"),
            lane.first: waiting >= lane.largest(lane.first),
        }
        if refining and (is_full["refine"] or not is_full[lane.first] or lane.has_passed_over):
            kind, count = "refine", refining
        elif waiting:
            kind, count = lane.first, waiting
        else:
            return None
        if is_busy and not is_full[kind]:
            return None
        if kind == lane.first and not is_busy and self._gathers(lane, count):
            return None
        lane.has_passed_over = kind != "refine" and refining > 0
        size = lane.sizes[kind].next(count)
        crops = self._in_time(lane, kind, size)
        return (kind, crops, size) if crops else None

    def _is_early(self, lane: _Lane) -> bool:
        """Whether an engine stays busy for some time; if so, it is asked again shortly before it is free."""
        early = lane.pace.left(time.perf_counter()) - _AHEAD_S
        if early > 0:
            self._wake_in(lane, early)
        return early > 0

    def _gathers(self, lane: _Lane, count: int) -> bool:
        """Whether an engine that has just become free waits for more crops than these: clients that have got
        their answers send the next crops within milliseconds, and a small batch costs more a crop.
        """
        wanted, until = lane.gathers
        left = until - time.perf_counter()
        if count >= wanted or left <= 0:
            return False
        self._wake_in(lane, left)
        return True

    def _wake_in(self, lane: _Lane, seconds: float) -> None:
        if lane.wake is not None:
            lane.wake.cancel()
        lane.wake = asyncio.get_running_loop().call_later(seconds, self._changed.set)

    def _in_time(self, lane: _Lane, kind: str, size: int) -> list[Crop]:
        """The next crops for a batch of this size; crops that are too late are dropped on the way.

        If all would be too late and the engine is idle, it takes them all the same, because the measured
        costs may be wrong.
        """
        now = time.perf_counter()
        free = now + lane.pace.left(now)
        crops: list[Crop] = []
        late: list[Crop] = []
        queue = self._refining if kind == "refine" else self._waiting
        while queue and len(crops) < size:
            crop = self._refining.popleft() if kind == "refine" else self._waiting.pop()
            is_late = crop.submission.deadline < free + lane.need(kind, crop, size)
            (late if is_late else crops).append(crop)
        if not crops and not lane.calls:
            crops, late = late[:size], late[size:]
        for crop in late:
            self._leave_queue(crop)
        _fail(late, TooLateError("There is not enough time left to read it."))
        return crops

    async def _run(self, lane: _Lane, kind: str, times: int, crops: list[Crop], size: int) -> None:
        started = time.perf_counter()
        took: dict[str, float] = {}
        for crop in crops:
            self._leave_queue(crop)
            crop.queue_s += started - crop.since
        self._note_depth()
        try:
            answer = await lane.engine.run(kind, _columns(kind, crops), size, times)
            took = answer.took
            lane.add(answer.costs)
            self._observer.statistics.call(self._model.version, len(crops), sum(took.values()))
            for graph, seconds in answer.took.items():
                self._observer.batch(graph, len(crops), size, seconds)
                lane.sizes[graph].note(size, seconds / max(1, times) if graph == "refine" else seconds)
            _note_times(crops, answer, started)
            self._take(kind, crops, answer.tensors)
        except WorkerDiedError as error:
            self._try_again(kind, crops, error)
        except Exception as error:
            _fail(crops, error)
        finally:
            now = time.perf_counter()
            lane.pace.end(took, now)
            if kind != "refine":
                lane.gathers = (len(crops), now + _GATHERS * sum(took.values()))

    def _try_again(self, kind: str, crops: list[Crop], error: WorkerDiedError) -> None:
        """The batch goes back to its queue, for any engine; a crop that has lost a worker twice fails."""
        now, has_run = time.perf_counter(), not isinstance(error, NeverRanError)
        for crop in reversed(crops):
            if crop.retried and has_run:
                _fail([crop], BatchFailedError(f"{error}, twice on the same crop"))
            elif not crop.submission.given_up:
                crop.retried = crop.retried or has_run
                crop.since = now
                if kind == "refine":
                    self._refining.appendleft(crop)
                else:
                    self._waiting.add(crop)

    def _take(self, kind: str, crops: list[Crop], tensors: list[np.ndarray]) -> None:
        """Takes an engine's answer for these crops: some are done, others go on."""
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
        """Language and fused logits of one iteration, or of several if no crop may stop early."""
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
            crop.words = stages if crop.submission.wish.detail else stages[-1:]
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
        return may_stop & sure(logits, self._early_stop.vision) if may_stop.any() else may_stop

    def _settled(self, crops: list[Crop], before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Which crops may stop after a refinement and have reason to."""
        may_stop = _may_stop(crops)
        return may_stop & settled(before, after, self._early_stop.settled) if may_stop.any() else may_stop

    def _pass_on(self, crops: list[Crop], done: list[Crop]) -> None:
        wanted = [crop for crop in done if not crop.submission.given_up]
        if wanted:
            stages = [crop.logits if crop.submission.wish.detail else crop.logits[-1:] for crop in wanted]
            predictions = self._decode(np.stack([logits for stage in stages for logits in stage]))
            end = 0
            for crop, stage in zip(wanted, stages, strict=True):
                if crop.submission.wish.early_stop:
                    self._usual_stop += _WEIGHT * (crop.refinements - self._usual_stop)
                end += len(stage)
                crop.words = predictions[end - len(stage) : end]
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


def _note_times(crops: list[Crop], answer: EngineAnswer, started: float) -> None:
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
