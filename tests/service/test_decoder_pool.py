"""How images come to be decoded, and what becomes of them when a decoder dies."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import numpy as np
import pytest

from service.crop import Crop, Submission, Wish
from service.errors import ProblemType, ServiceError
from service.image_decoding import decoders as image_decoders
from service.image_decoding import pool as intake_module
from service.image_decoding.decoders import ImageFile
from service.image_decoding.pool import DecoderPool
from service.image_decoding.preprocess import Preprocessor, Prescription, decode_image
from service.image_files.turns import turned
from service.types import ModelName
from tests.support.processes import child_pids
from tests.support.tiny_service import crop, encoded
from tests.support.waiting import until

SMALL = encoded(crop())
BASE64 = base64.b64encode(SMALL).decode()
PRESCRIPTION = Prescription("tiny", 128, 32, {"interpolation": "linear", "normalise": False})
MAX_BYTES = 1 << 20


class Ready:
    """Collects the groups in which crops became ready."""

    def __init__(self) -> None:
        self.groups: list[list[Crop]] = []

    def __call__(self, crops: Sequence[Crop]) -> None:
        self.groups.append(list(crops))
        for one in crops:
            one.submission.finish_one()

    async def wait_for(self, crops: int) -> None:
        await until(lambda: sum(map(len, self.groups)) >= crops, 60)


@pytest.fixture
def odd_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(__file__).parents[1] / "support" / "odd_decoders.py"
    monkeypatch.setattr(image_decoders, "COMMAND", [sys.executable, str(script)])
    monkeypatch.setenv("PYTHONPATH", str(script.parent.parent))


@asynccontextmanager
async def taking() -> AsyncIterator[tuple[DecoderPool, Ready]]:
    ready = Ready()
    intake = DecoderPool(Preprocessor(PRESCRIPTION), 1_000_000, MAX_BYTES, ready)
    try:
        with anyio.fail_after(60):
            yield intake, ready
    finally:
        intake.close()


def add(intake: DecoderPool, *files: ImageFile) -> Submission:
    submission = Submission(len(files), Wish(0), ModelName(name="tiny", version="1"))
    intake.add([[one] for one in submission.crops], files)
    return submission


def problem(crop: Crop) -> ProblemType | None:
    assert crop.error is None or isinstance(crop.error, ServiceError)
    return None if crop.error is None else crop.error.problem


def decoder_processes() -> list[int]:
    """Process ids of the process that decoders come from, and of the decoders."""
    return [pid for fork_server in fork_servers() for pid in (fork_server, *child_pids(fork_server))]


def fork_servers() -> list[int]:
    names = ("service.image_decoding.process", "odd_decoders.py")
    started = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in child_pids(os.getpid())}
    return [pid for pid, command in started.items() if any(name in command for name in names)]


async def test_an_image_is_prepared_as_in_this_process() -> None:
    async with taking() as (intake, ready):
        files = [encoded(crop(seed)) for seed in range(40)]
        submission = add(intake, *files, BASE64)
        await ready.wait_for(41)
        for taken, file in zip(submission.crops, [*files, SMALL], strict=True):
            expected = Preprocessor(PRESCRIPTION)(decode_image(file, 1_000_000))
            assert taken.image is not None
            np.testing.assert_array_equal(taken.image, expected)


async def test_images_of_several_requests_that_arrive_together_are_decoded_together() -> None:
    async with taking() as (intake, ready):
        for _ in range(20):
            add(intake, SMALL)
        await ready.wait_for(20)
        assert len(ready.groups) <= 4


async def test_what_was_given_up_is_not_decoded() -> None:
    async with taking() as (intake, ready):
        leaving, staying = add(intake, SMALL), add(intake, SMALL)
        leaving.given_up = True
        await ready.wait_for(1)
        assert ready.groups == [staying.crops]


async def test_an_error_reaches_its_crop_and_no_other() -> None:
    async with taking() as (intake, ready):
        submission = add(
            intake, b"hello", "no base64!", "gr\u00fc\u00df", encoded(np.zeros((2000, 2000, 3))), SMALL
        )
        await ready.wait_for(5)
        wanted = [*[ProblemType.NOT_AN_IMAGE] * 3, ProblemType.TOO_MANY_PIXELS, None]
        assert list(map(problem, submission.crops)) == wanted


async def test_a_file_beyond_the_limit_is_refused_and_one_at_it_is_read() -> None:
    async with taking() as (intake, ready):
        submission = add(
            intake, SMALL, SMALL + bytes(MAX_BYTES - len(SMALL)), SMALL + bytes(MAX_BYTES), SMALL
        )
        await ready.wait_for(4)
        assert list(map(problem, submission.crops)) == [None, None, ProblemType.BODY_TOO_LARGE, None]


@pytest.mark.usefixtures("odd_decoders")
@pytest.mark.parametrize("fatal", [b"crash", b"hang"])
async def test_an_image_that_ends_its_decoder_is_refused_and_those_beside_it_are_read(fatal: bytes) -> None:
    async with taking() as (intake, ready):
        submission = add(intake, *[b"sound"] * 20, fatal, *[b"sound"] * 20)
        await ready.wait_for(41)
        assert problem(submission.crops.pop(20)) is ProblemType.BROKEN_IMAGE
        assert set(map(problem, submission.crops)) == {None}


@pytest.mark.usefixtures("odd_decoders")
async def test_many_fatal_images_cost_none_of_the_others() -> None:
    async with taking() as (intake, ready):
        submission = add(intake, *[b"crash", b"sound", b"sound"] * 20)
        await ready.wait_for(60)
        assert list(map(problem, submission.crops)) == [ProblemType.BROKEN_IMAGE, None, None] * 20


@pytest.mark.usefixtures("odd_decoders")
@pytest.mark.parametrize("hostile", [b"slow", b"hang"])
async def test_an_image_does_not_wait_for_all_those_of_a_hostile_request(hostile: bytes) -> None:
    async with taking() as (intake, _):
        many = add(intake, *[hostile] * 60)
        await until(lambda: all(decoder.load for decoder in intake._decoders))
        one = add(intake, b"sound")
        await asyncio.wait_for(one.done, 30)
        assert one.crops[0].image is not None
        assert many.unfinished > 30


@pytest.mark.usefixtures("odd_decoders")
async def test_large_images_leave_a_decoder_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "_LARGE_IMAGES", 1000)

    async with taking() as (intake, _):
        many = add(intake, *[b"large"] * 60)  # 0.2 s each
        await until(lambda: many.unfinished < 60)
        before = many.unfinished
        for _ in range(30):
            one = add(intake, b"sound")
            await asyncio.wait_for(one.done, 30)
            assert one.crops[0].image is not None
        assert 0 < many.unfinished > before - 15
        many.given_up = True


@pytest.mark.usefixtures("odd_decoders")
async def test_more_large_images_than_can_be_decoded_within_seconds_are_refused() -> None:
    async with taking() as (intake, _):
        submission = add(intake, *[b"large", b"sound"] * 20)
        await asyncio.wait_for(submission.done, 30)
        found = list(map(problem, submission.crops))
        assert found[1::2] == [None] * 20
        assert {*found[::2]} == {None, ProblemType.QUEUE_FULL}
        again = add(intake, b"large")
        await asyncio.wait_for(again.done, 30)
        assert problem(again.crops[0]) is None


async def test_a_file_is_decoded_once_for_all_its_ways_up() -> None:
    async with taking() as (intake, _):
        files = [encoded(crop(seed)) for seed in range(10)]
        ways = [(0, 90, 180, 270) if seed % 2 else (0,) for seed in range(10)]
        submission = Submission(sum(map(len, ways)), Wish(0), ModelName(name="tiny", version="1"))
        left = iter(submission.crops)
        readings = [[next(left) for _ in degrees] for degrees in ways]
        for group, degrees in zip(readings, ways, strict=True):
            for reading, turn in zip(group, degrees, strict=True):
                reading.turned = turn
        intake.add(readings, files)
        await asyncio.wait_for(submission.done, 30)
        preprocess = Preprocessor(PRESCRIPTION)
        for group, file in zip(readings, files, strict=True):
            for reading in group:
                expected = preprocess(turned(decode_image(file, 1_000_000), reading.turned))
                assert reading.image is not None
                np.testing.assert_array_equal(reading.image, expected)


@pytest.mark.usefixtures("odd_decoders")
async def test_a_fault_of_our_own_and_too_much_memory_are_answered() -> None:
    async with taking() as (intake, ready):
        submission = add(intake, b"fault", b"memory", b"sound")
        await ready.wait_for(3)
        assert list(map(problem, submission.crops)) == [ProblemType.FAULT, ProblemType.BROKEN_IMAGE, None]


@pytest.mark.usefixtures("odd_decoders")
async def test_a_decoder_that_an_image_has_left_much_in_gives_way_to_another() -> None:
    async with taking() as (intake, ready):
        add(intake, b"sound")
        await ready.wait_for(1)
        before = set(decoder_processes())
        submission = add(intake, *[b"leak", *[b"sound"] * 15] * 4)
        await ready.wait_for(65)
        assert set(map(problem, submission.crops)) == {None}
        add(intake, b"sound")
        await ready.wait_for(66)
        assert len(set(decoder_processes()) & before) < len(before)


async def test_decoders_that_are_killed_are_replaced_and_no_image_is_lost() -> None:
    async with taking() as (intake, ready):
        for turn in range(1, 5):
            submission = add(intake, *[SMALL] * 60)
            await asyncio.sleep(0.01 * turn)
            for process in reversed(decoder_processes()):
                os.kill(process, signal.SIGKILL)
            await ready.wait_for(60 * turn)
            assert set(map(problem, submission.crops)) == {None}


async def test_decoders_that_are_stopped_are_replaced_and_no_image_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake_module, "_SILENCE_S", 3.0)

    async with taking() as (intake, ready):
        add(intake, SMALL)
        await ready.wait_for(1)
        for process in decoder_processes()[1:]:
            os.kill(process, signal.SIGSTOP)
        submission = add(intake, *[SMALL] * 60)
        await ready.wait_for(61)
        assert set(map(problem, submission.crops)) == {None}


async def test_a_process_of_decoders_that_no_signal_ends_does_not_stop_the_event_loop() -> None:
    async with taking() as (intake, _):
        intake.start()
        process = intake._fork_server._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.MonkeyPatch.context() as immortal:
            immortal.setattr(process, "kill", lambda: None)
            began = time.monotonic()
            intake._fork_server.close()
            assert time.monotonic() - began < 1
        process.kill()
        process.wait()


async def test_decoders_are_started_again_once_descriptors_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def no_descriptor(name: str) -> int:
        tried.append(name)
        raise OSError(24, "Too many open files")

    async with taking() as (intake, ready):
        with monkeypatch.context() as patch:
            patch.setattr(os, "memfd_create", no_descriptor)
            submission = add(intake, SMALL)
            await until(lambda: tried)
        await ready.wait_for(1)
        assert problem(submission.crops[0]) is None


@pytest.mark.parametrize("are_stopped", [False, True])
async def test_nothing_is_left_of_the_decoders_after_the_end(are_stopped: bool) -> None:
    async with taking() as (intake, ready):
        add(intake, SMALL)
        await ready.wait_for(1)
        processes = decoder_processes()
        if are_stopped:
            for process in processes:
                os.kill(process, signal.SIGSTOP)
    assert not fork_servers()
    await until(lambda: not any(map(is_alive, processes)), 20)


def is_alive(pid: int) -> bool:
    """A zombie, which waits for whoever is to bury it, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
