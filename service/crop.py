"""A crop on its way through the service, its request, and the room in the queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from service.types import ModelName


class Word(NamedTuple):
    """A word as one stage reads it.

    `characters` are the probabilities of the characters of `text`, in (0, 1]. `probability` is the product of
    these and of the stop's: what the network gives the word. `confidence`, computed from it by calibration,
    is the probability that the word is right. All are rounded to six digits.
    """

    text: str
    probability: float
    confidence: float
    characters: list[float]


class Wish(NamedTuple):
    """How a request wants its crops read; `detail` asks for every stage instead of the last one."""

    iterations: int
    early_stop: bool = False
    detail: bool = True


class Room:
    """How many crops may wait for their first batch in all schedulers together, and how many do.

    A crop counts once for each way up that is read.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.depth = 0


class Submission:
    """The crops of one request for one model, and the promise that each will be read or fail."""

    def __init__(
        self, count: int, wish: Wish, model: ModelName, timeout_s: float = math.inf, apart_s: float = 0.0
    ) -> None:
        """The due times of its crops are `apart_s` seconds apart."""
        self.wish = wish
        self.model = model
        self.started = time.perf_counter()
        self.deadline = self.started + timeout_s
        self.given_up = False
        """Nobody waits for it any more, so its unfinished crops are dropped."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.crops = [Crop(self, self.started + index * apart_s) for index in range(count)]
        self.unfinished = count
        self.on_finish: Callable[[], None] | None = None
        """Called after each crop."""

    def finish_one(self) -> None:
        self.unfinished -= 1
        if self.on_finish is not None:
            self.on_finish()
        if not self.unfinished and not self.done.done():
            self.done.set_result(None)


class Crop:
    """One crop on its way through the engines, and in the end what the network said about it.

    There is one for each way up that is read, turned clockwise by `turned` degrees.

    `image` is (3, 32, 128), normalised; `logits` are (T, C): of vision, then of language and fusion for each
    refinement. `insights` are further members of its answer, if the request asked for any.

    Times are seconds; `since` is when the crop last began to wait, and in the end when it was done. Crops
    leave the queue in the order of `due`.
    """

    __slots__ = (
        "batch_s",
        "decode_s",
        "due",
        "error",
        "features",
        "image",
        "insights",
        "is_waiting",
        "logits",
        "queue_s",
        "refine_s",
        "retried",
        "since",
        "submission",
        "turned",
        "vision_s",
        "words",
    )

    def __init__(self, submission: Submission, due: float) -> None:
        self.submission = submission
        self.due = due
        self.turned = 0
        self.image: np.ndarray | None = None
        self.features: np.ndarray | None = None
        self.logits: list[np.ndarray] = []
        self.words: list[Word] = []
        self.error: Exception | None = None
        self.insights: dict[str, Any] | None = None
        self.is_waiting = True
        self.retried = False
        self.since = submission.started
        self.decode_s = self.queue_s = self.batch_s = self.vision_s = self.refine_s = 0.0

    @property
    def refinements(self) -> int:
        """Number of refinements that have run."""
        return len(self.logits) // 2

    def take_times(self, other: Crop) -> None:
        """Takes over the times of another crop."""
        self.since, self.decode_s, self.queue_s = other.since, other.decode_s, other.queue_s
        self.batch_s, self.vision_s, self.refine_s = other.batch_s, other.vision_s, other.refine_s
