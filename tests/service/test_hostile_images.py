"""Images made to harm what decodes them: every decoder outlives them, within a second and 256 MiB each."""

from __future__ import annotations

import contextlib
import ctypes
import re
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from abinet_client.batch.thumbnail import Thumbnails
from service.image_files import BrokenImage, NotAnImage, decode, look
from tests.support.decoder_trial import DECODERS, Trial, TrialFailed
from tests.support.hostile_images import (
    chunk,
    corpus,
    fuzz,
    hostile_pngs,
    hostile_webps,
    jpeg,
    png,
    riff,
    saved,
    sound_images,
    tiff,
    webp_chunk,
)
from tests.support.processes import children, descendants
from tests.support.tiny_service import ServiceProcess, crop, encoded, simulated_service

pytestmark = pytest.mark.slow

BATCH = 64
CPU_S_OF_A_LOOK = 0.5
"""A safety net: a look takes a few milliseconds, except for 8 MiB of JPEG made of markers alone."""


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_outlives_the_corpus(decoder: str) -> None:
    trial = Trial(decoder)
    decoded = set()
    try:
        for name, body in corpus().items():
            try:
                if trial(body):
                    decoded.add(name)
            except TrialFailed as failure:
                raise AssertionError(f"{name}: {failure}") from None
    finally:
        trial.close()
    assert set(sound_images()) <= decoded


@pytest.mark.lite
def test_the_decoder_of_python_37_outlives_the_corpus(lite_python: Path) -> None:
    trial = Trial("export", str(lite_python))
    try:
        for body in corpus().values():
            trial(body)
    finally:
        trial.close()


def test_every_decoder_outlives_some_seconds_of_mutations() -> None:
    assert fuzz(10, seed=12, decoders=list(DECODERS)) > 0


def test_what_a_decoder_sees_has_the_size_that_was_looked_up() -> None:
    """Its own header is looked at once more: nothing is left to say something else."""
    for name, body in corpus().items():
        with contextlib.suppress(BrokenImage, NotAnImage):
            picture = look(body)
            again = look(picture.content)
            # A decoder is not told the orientation.
            assert again._replace(orientation=picture.orientation) == picture, name


def test_a_look_takes_no_time_to_speak_of() -> None:
    for name, body in corpus().items():
        started = time.process_time()
        with contextlib.suppress(BrokenImage, NotAnImage):
            look(body)
        assert time.process_time() - started < CPU_S_OF_A_LOOK, name


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (hostile_pngs()["lying length"], "longer than what is there"),
        (hostile_pngs()["interlace 0x5b"], "interlace method 91 is not known"),
        (png(8, 8, 3, 2, 0, 0, 0), "colour type 2 with 3 bits is not known"),
        (png(before=chunk(b"ABCD")), "its ABCD chunk is not known"),
        (hostile_webps()["raw VP8L"], "is longer than what is there|is not known here"),
        (hostile_webps()["small canvas, large picture"], "has not the size of its canvas"),
        (tiff((256, 4, 1, 8), (256, 4, 1, 65535)), "it has tag 256 twice"),
        (tiff((256, 16, 1, 8)), "tag 256 is of a type or count not known here"),
        (jpeg(b"\xff\x01"), "marker 01 is not known here"),
        (jpeg(b"\xff\xd0"), "marker D0 is not known here"),
        (jpeg(scans=33), "more than 32 scans"),
        (jpeg()[:-2], "it is cut off"),
    ],
)
def test_what_a_decoder_might_understand_otherwise_is_refused_with_the_reason(
    body: bytes, fault: str
) -> None:
    with pytest.raises(BrokenImage, match=fault):
        look(body)


def test_of_an_animated_png_a_decoder_sees_the_first_frame_alone() -> None:
    assert look(hostile_pngs()["frame beyond the canvas"]).content == png()
    assert look(hostile_pngs()["animation"]).content == png()


def test_of_an_animated_webp_a_decoder_sees_the_first_frame_alone() -> None:
    still = saved("WEBP", lossless=True)
    size = (36).to_bytes(3, "little") + (22).to_bytes(3, "little")
    canvas = webp_chunk(b"VP8X", b"\x02\0\0\0" + size)
    frame = webp_chunk(b"ANMF", bytes(6) + size + bytes(4) + still[12:])
    animated = riff(canvas, webp_chunk(b"ANIM", bytes(6)), frame, frame)
    assert look(animated)[:3] == (37, 23, still)


def test_of_a_tiff_of_several_pages_a_decoder_sees_the_first_alone() -> None:
    page = saved("TIFF")
    (directory,) = struct.unpack_from("<I", page, 4)
    (entries,) = struct.unpack_from("<H", page, directory)
    following = bytearray(page)
    following[directory + 2 + 12 * entries : directory + 6 + 12 * entries] = struct.pack("<I", directory)
    assert look(bytes(following)) == look(page)


def test_what_follows_an_image_reaches_no_decoder() -> None:
    for name, body in sound_images().items():
        assert look(body + b"PK\3\4" * 100).content == look(body).content, name


def test_nothing_is_printed_of_a_broken_image(capfd: pytest.CaptureFixture[str]) -> None:
    for body in corpus().values():
        with contextlib.suppress(ValueError):
            decode(body)
    assert capfd.readouterr() == ("", "")
    # But what others print of other things is.
    ctypes.CDLL(None).perror(b"heard")
    assert "heard" in capfd.readouterr().err


# The service.


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    with simulated_service("--simulated-ms", "0", "--no-access-log") as process:
        yield process


def batch(client: httpx.Client, bodies: list[bytes]) -> list[int]:
    """The status of each image."""
    answer = client.post("/v1/read/batch", files=[("images", ("crop", body)) for body in bodies])
    if answer.status_code != 200:
        return [answer.status_code] * len(bodies)
    return [200 if item.get("result") else item["error"]["status"] for item in answer.json()["items"]]


def resident_bytes(running: ServiceProcess) -> tuple[int, int]:
    """Of the front, and of the process that its decoders come from with these."""
    front = children(running.process.pid, "fronts.process")[0]
    decoders = descendants(front)
    assert len(decoders) >= 3
    return _anonymous_bytes(front), sum(map(_anonymous_bytes, decoders))


def _anonymous_bytes(pid: int) -> int:
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def test_every_hostile_image_is_answered_and_the_service_goes_on(running: ServiceProcess) -> None:
    sound = encoded(crop())
    for name, body in corpus().items():
        if 0 < len(body) <= 8 << 20 and ("cut" not in name or name.startswith("png")):
            status = running.client.post("/v1/read", content=body).status_code
            assert status in (200, 400, 413, 415), (name, status)
    assert running.client.post("/v1/read", content=sound).status_code == 200
    assert not [line for line in running.lines if "Traceback" in line or "has died" in line]


def test_memory_stays_flat_over_5000_hostile_images(running: ServiceProcess) -> None:
    bodies = [body for body in corpus().values() if 0 < len(body) < 100_000]
    leaking = png(8, 8, 8, 2, 0, 0, 0, pixels=zlib.compress(b"\5" * 200 * 8))

    def send(count: int) -> None:
        for start in range(0, count, BATCH):
            some = [bodies[(start + index) % len(bodies)] for index in range(BATCH - 8)]
            assert 500 not in batch(running.client, [*some, *[leaking] * 8])

    send(1000)
    front, decoders = resident_bytes(running)
    send(5000)
    front_after, decoders_after = resident_bytes(running)
    assert front_after < 1.1 * front
    assert decoders_after - decoders < 64 << 20  # each may keep some before another takes its place


def test_a_form_of_large_images_does_not_hold_up_the_crops_of_others(running: ServiceProcess) -> None:
    large = encoded(np.zeros((4000, 4000, 3), np.uint8), ".webp")
    outcomes: list[int] = []

    def send_form() -> None:
        with httpx.Client(base_url=running.client.base_url, timeout=60) as client:
            outcomes.extend(batch(client, [large] * BATCH))

    sending = threading.Thread(target=send_form)
    sending.start()
    waited, sound = [], encoded(crop())
    while sending.is_alive():
        started = time.monotonic()
        assert running.client.post("/v1/read", content=sound).status_code == 200
        waited.append(time.monotonic() - started)
    assert set(outcomes) == {200, 429}
    assert sorted(waited)[len(waited) // 2] < 0.5  # a safety net: a large one takes as long


# The client.


def test_a_thumbnail_of_a_hostile_image_costs_no_other() -> None:
    thumbnails = Thumbnails()
    try:
        for body in hostile_webps().values():
            thumbnails(body)
            assert thumbnails(saved("PNG"))
    finally:
        thumbnails.close()
