"""Any way up: which crops are turned, which reading is the answer, and what it costs."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from models.evaluation import turns as evaluated
from service.crop import Crop
from service.errors import ProblemType, ServiceError
from service.image_decoding.preprocess import decode_image
from service.image_files import upright_size
from service.image_files.turns import turned
from service.reading.decode import Decoder, certainty
from service.reading.turns import surest, ways_up
from service.types import Turns
from tests.support.tiny_service import ServiceProcess, crop, encoded, problem, service, tiny_bundle

pytestmark = pytest.mark.slow

TURNS: tuple[Turns, ...] = ("auto", "none", "all")
DEGREES = (0, 90, 180, 270)
TALL = crop(3).transpose(1, 0, 2).copy()
WIDE = crop(4)

sides = st.integers(1, 400)
logits = arrays(
    np.float32, st.tuples(st.integers(1, 4), st.just(26), st.just(37)), elements=st.integers(-9, 9)
)


# Which crops are turned.


@given(sides, sides, st.sampled_from(TURNS))
def test_a_crop_is_turned_where_it_is_asked_for_or_taller_than_wide(
    width: int, height: int, turns: Turns
) -> None:
    tall = 2 * height > 3 * width
    expected = {"all": DEGREES, "none": (0,), "auto": (0, 90, 270) if tall else (0,)}[turns]
    image = np.zeros((height, width, 3), np.uint8)
    assert ways_up(encoded(image, ".bmp"), turns) == expected
    assert evaluated.ways_up(image, turns) == expected


@pytest.mark.parametrize("degrees", DEGREES)
def test_degrees_count_clockwise(degrees: int) -> None:
    expected = np.rot90(WIDE, -degrees // 90)
    np.testing.assert_array_equal(turned(WIDE, degrees), expected)
    np.testing.assert_array_equal(evaluated.turned(WIDE, degrees), expected)


def with_orientation(form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    kept = {"tiffinfo": exif} if form == "TIFF" else {"exif": exif}
    Image.fromarray(WIDE).save(file, form, **kept)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_decoded_image(form: str, orientation: int) -> None:
    body = with_orientation(form, orientation)
    height, width, _ = decode_image(body, WIDE.size).shape
    assert upright_size(body) == (width, height)


def test_a_tall_crop_is_found_behind_any_number_of_bytes_in_base64_too() -> None:
    file = io.BytesIO()
    Image.fromarray(np.rot90(WIDE)).save(file, "JPEG", comment=b"x" * 60_000)
    assert len(ways_up(base64.b64encode(file.getvalue()).decode(), "auto")) == 3


@given(st.binary(max_size=300), st.integers(0, 300), st.sampled_from(["JPEG", "PNG", "TIFF"]))
def test_a_broken_orientation_fails_as_a_broken_image_does(noise: bytes, at: int, form: str) -> None:
    body = bytearray(with_orientation(form, 6))
    body[at : at + len(noise)] = noise
    with contextlib.suppress(ValueError):
        assert min(upright_size(bytes(body))) > 0


# Which reading is the answer.


def readings(logits: np.ndarray, seconds: list[float]) -> list[Crop]:
    """As an engine would leave them: a crop's readings, done at these times."""
    made = []
    for last, done in zip(logits, seconds, strict=True):
        reading = Crop.__new__(Crop)
        reading.error, reading.logits, reading.since = None, [last], done
        reading.decode_s = reading.queue_s = reading.batch_s = reading.vision_s = reading.refine_s = done
        made.append(reading)
    return made


@given(logits, st.data())
def test_the_answer_is_the_surest_reading_with_the_times_of_the_last(
    logits: np.ndarray, data: st.DataObject
) -> None:
    done = data.draw(st.permutations([float(place) for place in range(len(logits))]))
    made = readings(logits, done)
    answer = surest(made)
    sureness = certainty(logits)
    assert made.index(answer) == sureness.tolist().index(sureness.max())
    if len(made) > 1:
        assert answer.since == answer.queue_s == answer.refine_s == len(logits) - 1


def test_a_word_is_no_surer_for_being_short() -> None:
    charset = "abcdefghijklmnopqrstuvwxyz1234567890"
    logits = np.zeros((2, 26, 37), np.float32)
    logits[0, [0, 1], [1, 0]] = 5
    logits[1, range(9), [1] * 8 + [0]] = 6
    assert [prediction.text for prediction in Decoder(charset)(logits)] == ["a", "aaaaaaaa"]
    assert certainty(logits).argmax() == 1


def test_a_reading_that_failed_is_the_answer() -> None:
    made = readings(np.zeros((3, 26, 37), np.float32), [1, 2, 3])
    made[1].error = ServiceError(ProblemType.ENGINE_FAILED, "no memory")
    assert surest(made) is made[1]


# Over HTTP.


@pytest.mark.parametrize("image", [TALL, WIDE, crop(7), crop(8)], ids=["tall", "wide", "third", "fourth"])
@pytest.mark.parametrize("options", [{}, {"iterations": 0}, {"iterations": 2, "early_stop": True}])
def test_a_turned_crop_is_read_as_the_crop_that_was_turned_before(
    running: ServiceProcess, image: np.ndarray, options: dict[str, Any]
) -> None:
    answer = running.read(image, turns="all", **options).json()
    upright = running.read(turned(image, answer["turned"]), turns="none", **options).json()
    assert upright["turned"] == 0
    assert answer["text"] == upright["text"]
    assert [stage["stage"] for stage in answer["iterations"]] == [
        stage["stage"] for stage in upright["iterations"]
    ]
    assert answer["confidence"] == pytest.approx(upright["confidence"], abs=1e-5)


def test_unless_told_otherwise_only_tall_crops_are_turned(running: ServiceProcess) -> None:
    assert made(running, lambda: running.read(TALL)) == (1, 3)
    assert made(running, lambda: running.read(WIDE)) == (1, 1)
    assert made(running, lambda: running.read(TALL, turns="none")) == (1, 1)
    assert made(running, lambda: running.read(WIDE, turns="all")) == (1, 4)


def test_a_batch_counts_the_clients_crops_and_the_engines_readings(running: ServiceProcess) -> None:
    files = [("images", (name, encoded(image))) for name, image in (("tall", TALL), ("wide", WIDE))]
    files.append(("images", ("none", b"no image")))
    answers: list[dict[str, Any]] = []

    def read() -> None:
        answers.extend(running.client.post("/v1/read/batch", files=files).json()["items"])

    assert made(running, read) == (2, 4)
    assert answers[0]["result"]["turned"] in (0, 90, 270)
    assert answers[1]["result"]["turned"] == 0
    assert answers[2]["error"]["status"] == 415


def made(running: ServiceProcess, reading: Callable[[], object]) -> tuple[int, int]:
    """How many crops and readings the service has counted meanwhile."""
    before = counted(running)
    reading()
    after = counted(running)
    return after[0] - before[0], after[1] - before[1]


def counted(running: ServiceProcess) -> tuple[int, int]:
    lines = running.client.get("/metrics").text.splitlines()
    values = dict(line.split() for line in lines if not line.startswith("#") and "{" not in line)
    return int(float(values["abinet_crops_total"])), int(float(values["abinet_readings_total"]))


def test_json_batches_and_the_open_inference_protocol_take_turns_too(running: ServiceProcess) -> None:
    expected = running.read(WIDE, turns="all").json()
    image = base64.b64encode(encoded(WIDE)).decode()
    batch = running.client.post("/v1/read/batch", json={"images": [image], "turns": "all"}).json()
    result = batch["items"][0]["result"]
    assert (result["text"], result["turned"]) == (expected["text"], expected["turned"])
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [image]}
    asked = {"inputs": [tensor], "parameters": {"turns": "all"}}
    outputs = running.client.post("/v2/models/abinet/infer", json=asked).json()["outputs"]
    values = {output["name"]: output["data"] for output in outputs}
    assert (values["text"], values["turned"]) == ([expected["text"]], [expected["turned"]])


def test_turns_that_there_are_not_are_refused(running: ServiceProcess) -> None:
    image = base64.b64encode(encoded(WIDE)).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [image]}
    refused = (422, "invalid-request")
    assert problem(running.read(WIDE, turns="left")) == refused
    assert problem(running.read(WIDE, turns="")) == refused
    batch = {"images": [image], "turns": "left"}
    assert problem(running.client.post("/v1/read/batch", json=batch)) == refused
    asked = {"inputs": [tensor], "parameters": {"turns": "left"}}
    assert running.client.post("/v2/models/abinet/infer", json=asked).status_code == 422


@pytest.fixture(scope="module")
def narrow() -> Iterator[ServiceProcess]:
    """Room for two readings, every way up unless a request says otherwise, and a slow engine."""
    simulated = ("--engine", "simulated", "--simulated-ms", "300")
    limits = ("--max-queue", "2", "--max-batch-items", "2", "--turns", "all")
    with service("--bundle", str(tiny_bundle()), *simulated, *limits) as running:
        yield running


def test_the_service_has_a_setting_for_requests_that_do_not_say(narrow: ServiceProcess) -> None:
    assert made(narrow, lambda: narrow.read(WIDE)) == (1, 4)
    assert made(narrow, lambda: narrow.read(WIDE, turns="none")) == (1, 1)


def test_the_queue_counts_readings_and_a_refusal_crops(narrow: ServiceProcess) -> None:
    """More readings than there is room for are taken only when nothing else waits."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: narrow.read(WIDE).status_code, range(8)))
    refused = answers.count(429)
    assert answers.count(200) == 8 - refused
    assert 0 < refused < 8
    text = narrow.client.get("/metrics").text
    assert f'abinet_rejected_total{{reason="queue-full"}} {refused}.0' in text
