"""How images come to be decoded, one by one or together."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import numpy as np
from tiny_service import crop, encoded

from service.errors import Problem, ServiceError
from service.intake import ImageFile, Intake
from service.preprocess import Preprocessor
from service.scheduler import Crop, Submission, Wish
from service.schemas import ModelName

SMALL = encoded(crop())
BASE64 = base64.b64encode(SMALL).decode()
LARGE = encoded(np.zeros((300, 300, 3), np.uint8))


class NotedPreprocessor:
    """Notes in which thread each image was prepared, and cannot do it with one 7 pixels high."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.threads.append(threading.current_thread().name)
        if image.shape[0] == 7:
            raise ZeroDivisionError
        return image


class Ready:
    """Collects the groups in which crops became ready."""

    def __init__(self) -> None:
        self.groups: list[list[Crop]] = []

    def __call__(self, crops: Sequence[Crop]) -> None:
        self.groups.append(list(crops))

    async def wait_for(self, crops: int) -> None:
        while sum(map(len, self.groups)) < crops:
            await asyncio.sleep(0.001)


def taking(test: Callable[[Intake, NotedPreprocessor, Ready], Awaitable[None]]) -> None:
    async def main() -> None:
        preprocess, ready = NotedPreprocessor(), Ready()
        intake = Intake(cast(Preprocessor, preprocess), 1_000_000, ready)
        await asyncio.wait_for(test(intake, preprocess, ready), 10)
        intake.close()

    asyncio.run(main())


def add(intake: Intake, *files: ImageFile) -> Submission:
    submission = Submission(len(files), Wish(0), ModelName(name="tiny", version="1"))
    intake.add(submission.crops, files)
    return submission


def test_a_small_image_alone_is_decoded_at_once() -> None:
    async def test(intake: Intake, preprocess: NotedPreprocessor, ready: Ready) -> None:
        add(intake, SMALL)
        await ready.wait_for(1)
        assert preprocess.threads == ["MainThread"]

    taking(test)


def test_a_large_image_does_not_hold_up_the_event_loop() -> None:
    async def test(intake: Intake, preprocess: NotedPreprocessor, ready: Ready) -> None:
        add(intake, LARGE)
        await ready.wait_for(1)
        assert "decode" in preprocess.threads[0]

    taking(test)


def test_small_images_of_several_requests_that_arrive_together_are_decoded_together() -> None:
    async def test(intake: Intake, preprocess: NotedPreprocessor, ready: Ready) -> None:
        submissions = [add(intake, SMALL), add(intake, SMALL, BASE64)]
        await ready.wait_for(3)
        assert ready.groups == [[crop for submission in submissions for crop in submission.crops]]
        assert set(preprocess.threads) == {"MainThread"}

    taking(test)


def test_many_small_images_let_the_event_loop_go_in_between() -> None:
    async def test(intake: Intake, preprocess: NotedPreprocessor, ready: Ready) -> None:
        add(intake, *[SMALL] * 200)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < len(preprocess.threads) < 200
        await ready.wait_for(200)

    taking(test)


def test_what_was_given_up_is_not_decoded() -> None:
    async def test(intake: Intake, preprocess: NotedPreprocessor, ready: Ready) -> None:
        leaving, _ = add(intake, SMALL), add(intake, SMALL)
        leaving.given_up = True
        await ready.wait_for(2)
        assert len(preprocess.threads) == 1

    taking(test)


def test_an_error_reaches_its_crop_and_no_other() -> None:
    async def test(intake: Intake, preprocess: NotedPreprocessor, ready: Ready) -> None:
        faulty = encoded(np.zeros((7, 9, 3), np.uint8))
        submission = add(intake, b"hello", "no base64!", faulty, SMALL)
        await ready.wait_for(4)
        no_image, no_base64, fault, sound = submission.crops
        for failed in (no_image, no_base64):
            assert isinstance(failed.error, ServiceError)
            assert failed.error.problem is Problem.NOT_AN_IMAGE
        assert isinstance(fault.error, ZeroDivisionError)
        assert (sound.error, sound.image is None) == (None, False)

    taking(test)
