"""Deadlines: what they cancel, and what they leave as it was."""

from __future__ import annotations

import asyncio
import sys

import pytest

from service.reading.deadline import ClientGoneError, Deadline, DeadlineError


async def test_a_task_goes_on_after_deadlines_that_have_passed_as_if_it_had_never_been_cancelled() -> None:
    for _ in range(3):
        with pytest.raises(DeadlineError):
            async with Deadline(0.01):
                await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    if sys.version_info >= (3, 11):  # Python 3.10 does not count
        assert task.cancelling() == 0
    await asyncio.wait_for(_turns(), 10)


async def test_a_client_that_hangs_up_leaves_its_task_uncancelled_as_well() -> None:
    with pytest.raises(ClientGoneError):
        async with Deadline(60, lambda: asyncio.sleep(0)):
            await asyncio.Event().wait()
    await _turns()


async def test_a_client_that_stays_does_not_keep_the_deadline_from_passing() -> None:
    async def client_gone() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineError, match=r"within 0\.2 s"):
        async with Deadline(0.2, client_gone):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    if sys.version_info >= (3, 11):
        assert task.cancelling() == 0
    await _turns()


async def test_the_outer_of_two_deadlines_passes_although_the_inner_one_has_time() -> None:
    with pytest.raises(DeadlineError, match=r"within 0\.01 s"):
        async with Deadline(0.01), Deadline(60):
            await asyncio.Event().wait()


async def test_a_task_that_is_cancelled_from_elsewhere_is_cancelled_and_not_late() -> None:
    has_begun = asyncio.Event()

    async def work() -> None:
        async with Deadline(60):
            has_begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_was_done_just_in_time_stays_done() -> None:
    async with Deadline(10):
        await asyncio.sleep(0)
    await _turns()


async def _turns() -> None:
    """Turns of the event loop, in which a cancellation that is left over would arrive."""
    for _ in range(10):
        await asyncio.sleep(0)
