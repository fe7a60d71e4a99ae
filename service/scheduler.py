"""Continuous batching: crops of many callers share the engine's batches, stage by stage."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from service.batching import BatchSizes
from service.decode import settled
from service.engines.engine import Cost
from service.engines.process import Answer


class QueueFullError(Exception):
    """More crops are waiting than the scheduler may hold."""


class Engine(Protocol):
    """What runs a graph of fixed batch size (see service.engines.engine.Engine.run)."""

    async def run(self, kind: str, tensors: Sequence[np.ndarray]) -> Answer: ...


class Refinement(NamedTuple):
    """Logits (T, C) of one iteration."""

    language: np.ndarray
    fused: np.ndarray


class Crop:
    """One crop on its way through the engine, and in the end what the network said about it."""

    def __init__(self, image: np.ndarray, iterations: int, early_stop: bool) -> None:
        self.image = image
        self.iterations = iterations
        self.early_stop = early_stop
        self.vision: np.ndarray = np.empty(0)
        self.features: np.ndarray = np.empty(0)
        self.refinements: list[Refinement] = []
        self.queued_at = time.perf_counter()
        self.queue_s = 0.0
        self.vision_s = 0.0
        self.refine_s = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def logits(self) -> np.ndarray:
        """The latest logits (T, C): of vision, or of the last iteration's fusion."""
        return self.refinements[-1].fused if self.refinements else self.vision


class Scheduler:
    """Runs crops through one engine, which it never lets wait while there are crops.

    Work that has begun goes first: a refinement costs a tenth of the vision model. An idle engine takes what
    is there at once; while it is busy, crops gather for its next batch. A crop whose caller has given up is
    dropped.
    """

    def __init__(
        self, engine: Engine, costs: Sequence[Cost], *, max_queue: int = 256, settled_threshold: float = 0.9
    ) -> None:
        kinds = {cost.kind for cost in costs}
        self._sizes = {kind: BatchSizes(cost for cost in costs if cost.kind == kind) for kind in kinds}
        self._engine = engine
        self._max_queue = max_queue
        self._threshold = settled_threshold
        self._waiting: deque[Crop] = deque()
        self._refining: deque[Crop] = deque()
        self._arrived = asyncio.Event()

    async def read(self, image: np.ndarray, iterations: int, early_stop: bool = False) -> Crop:
        """Image (3, 32, 128), normalised -> the crop with the logits of vision and `iterations` refinements.

        With `early_stop`, fewer where a refinement settles the text. Raises QueueFullError and
        what the engine raises. Cancelling the call takes the crop out of the queue.
        """
        if len(self._waiting) >= self._max_queue:
            self._waiting = _wanted(self._waiting)
            if len(self._waiting) >= self._max_queue:
                raise QueueFullError(f"{self._max_queue} crops are waiting")
        crop = Crop(image, iterations, early_stop)
        self._waiting.append(crop)
        self._arrived.set()
        await crop.done
        return crop

    async def run(self) -> None:
        """Serves crops until it is cancelled."""
        while True:
            self._waiting, self._refining = _wanted(self._waiting), _wanted(self._refining)
            if self._refining:
                await self._step("refine", self._refining)
            elif self._waiting:
                await self._step("abinet" if "abinet" in self._sizes else "vision", self._waiting)
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _step(self, kind: str, queue: deque[Crop]) -> None:
        size = self._sizes[kind].next(len(queue))
        crops = [queue.popleft() for _ in range(min(size, len(queue)))]
        run = {"vision": self._see, "refine": self._refine, "abinet": self._see_and_refine}[kind]
        try:
            await run(crops, size)
        except Exception as error:
            for crop in crops:
                if not crop.done.done():
                    crop.done.set_exception(error)

    async def _see(self, crops: list[Crop], size: int) -> None:
        answer = await self._first_call("vision", crops, size)
        for crop, logits, features in zip(crops, *answer.tensors, strict=False):
            crop.vision, crop.features = logits, features
            self._pass_on(crop, is_settled=False)

    async def _refine(self, crops: list[Crop], size: int) -> None:
        tensors = [
            _batch([crop.logits for crop in crops], size),
            _batch([crop.features for crop in crops], size),
        ]
        answer = await self._engine.run("refine", tensors)
        for crop, language, fused in zip(crops, *answer.tensors, strict=False):
            is_settled = crop.early_stop and settled(crop.logits, fused, self._threshold)
            crop.refinements.append(Refinement(language, fused))
            crop.refine_s += answer.seconds
            self._pass_on(crop, is_settled)

    async def _see_and_refine(self, crops: list[Crop], size: int) -> None:
        answer = await self._first_call("abinet", crops, size)
        for crop, vision, *rest in zip(crops, *answer.tensors, strict=False):
            crop.vision = vision
            for language, fused in zip(rest[0::2], rest[1::2], strict=True):
                if len(crop.refinements) == crop.iterations:
                    break
                is_settled = crop.early_stop and settled(crop.logits, fused, self._threshold)
                crop.refinements.append(Refinement(language, fused))
                if is_settled:
                    break
            _finish(crop)

    async def _first_call(self, kind: str, crops: list[Crop], size: int) -> Answer:
        started = time.perf_counter()
        for crop in crops:
            crop.queue_s = started - crop.queued_at
        answer = await self._engine.run(kind, [_batch([crop.image for crop in crops], size)])
        for crop in crops:
            crop.vision_s = answer.seconds
        return answer

    def _pass_on(self, crop: Crop, is_settled: bool) -> None:
        if is_settled or len(crop.refinements) >= crop.iterations:
            _finish(crop)
        else:
            self._refining.append(crop)


def _finish(crop: Crop) -> None:
    if not crop.done.done():
        crop.done.set_result(None)


def _wanted(crops: deque[Crop]) -> deque[Crop]:
    """The crops that somebody still waits for."""
    return deque(crop for crop in crops if not crop.done.done())


def _batch(rows: list[np.ndarray], size: int) -> np.ndarray:
    """Rows stacked and padded with zeros to a batch of `size`."""
    batch = np.zeros((size, *rows[0].shape), np.float32)
    np.stack(rows, out=batch[: len(rows)])
    return batch
