"""A crop on its way through the service, the request that it came with, and the room that both take."""

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

    `characters` are the probabilities of the characters of `text`, one each, in (0, 1]. `probability` is the
    product of theirs and the stop's, which the network gives the word; `confidence` is the probability that
    the word is right, which follows from it by calibration. All are rounded to six digits.
    """

    text: str
    probability: float
    confidence: float
    characters: list[float]


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

    def __init__(
        self, count: int, wish: Wish, model: ModelName, timeout_s: float = math.inf, apart_s: float = 0.0
    ) -> None:
        """Its crops are due `apart_s` seconds apart."""
        self.wish = wish
        self.model = model
        self.started = time.perf_counter()
        self.deadline = self.started + timeout_s
        self.given_up = False
        """Nobody waits any more: what is left of the work is dropped."""
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

    One that is read several ways up is several of these: `turned` is by how many degrees clockwise.

    `image` is (3, 32, 128), normalised; `logits` are (T, C): of vision, then of language and fusion for each
    refinement. `insights` are further members of its answer, if any were asked for.

    Times are seconds; `since` is when the crop last began to wait, in the end when it was done;
    crops leave the queue in the order in which they are `due`.
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
        """How many have run."""
        return len(self.logits) // 2

    def take_times(self, other: Crop) -> None:
        """Its times are those of another from now on."""
        self.since, self.decode_s, self.queue_s = other.since, other.decode_s, other.queue_s
        self.batch_s, self.vision_s, self.refine_s = other.batch_s, other.vision_s, other.refine_s
