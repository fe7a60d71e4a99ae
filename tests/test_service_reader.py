"""What the reader makes of the failures below it, without a worker."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest
from tiny_service import crop, encoded, tiny_bundle

from service.engines.bundle import Bundle
from service.errors import Problem, ServiceError
from service.reader import Reader
from service.scheduler import Crop, QueueFullError, Scheduler
from service.schemas import ReadOptions
from service.settings import Settings
from service.supervisor import BatchFailedError


class FailingScheduler:
    """Raises an error for every crop, or never answers."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def read(self, image: np.ndarray, iterations: int, early_stop: bool) -> Crop:
        if self._error is not None:
            raise self._error
        raise await asyncio.get_running_loop().create_future()


def problem_of(error: Exception | None, timeout_s: float = 60) -> ServiceError:
    async def read() -> None:
        reader = Reader(Bundle(str(tiny_bundle())), Settings())
        reader._scheduler = cast(Scheduler, FailingScheduler(error))
        await reader.read(encoded(crop()), ReadOptions(), timeout_s)

    with pytest.raises(ServiceError) as failure:
        asyncio.run(read())
    return failure.value


def test_a_full_queue_asks_to_come_again() -> None:
    error = problem_of(QueueFullError("256 crops are waiting"))
    assert (error.problem, error.retry_after) == (Problem.QUEUE_FULL, 1)


def test_a_batch_that_failed_says_how() -> None:
    error = problem_of(BatchFailedError("the engine raised no memory"))
    assert (error.problem, error.detail) == (Problem.ENGINE_FAILED, "the engine raised no memory.")


def test_the_deadline_includes_the_queue() -> None:
    assert problem_of(None, timeout_s=0.01).problem is Problem.DEADLINE


def test_more_iterations_than_the_bundle_has_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="4 iterations"):
        Reader(Bundle(str(tiny_bundle())), Settings(iterations=4))
