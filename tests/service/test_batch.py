"""`POST /v1/read/batch` and forms, over a real socket."""

from __future__ import annotations

import base64
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.http.schemas import BatchResult
from tests.support.tiny_service import ServiceProcess, crop, encoded, problem, service, tiny_bundle

pytestmark = pytest.mark.slow

FILES = [("images", (f"{seed}.png", encoded(crop(seed)))) for seed in range(6)]
BASE64 = base64.b64encode(encoded(crop())).decode()


def batch(running: ServiceProcess, files: list = FILES, **options: Any) -> httpx.Response:
    return running.client.post("/v1/read/batch", files=files, params=options)


def json_batch(running: ServiceProcess, **body: Any) -> httpx.Response:
    return running.client.post("/v1/read/batch", json=body)


def words(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [item["result"]["text"] for item in response.json()["items"]]


def test_every_crop_of_a_batch_reads_as_alone(running: ServiceProcess) -> None:
    response = batch(running)
    assert words(response) == [running.read(crop(seed)).json()["text"] for seed in range(6)]
    assert [item["id"] for item in response.json()["items"]] == [f"{seed}.png" for seed in range(6)]


def test_json_with_base64_reads_as_a_form(running: ServiceProcess) -> None:
    images = [base64.b64encode(encoded(crop(seed))).decode() for seed in range(6)]
    assert words(json_batch(running, images=images)) == words(batch(running))


WAYS = {
    "plain": BASE64,
    "data URI": f"data:image/png;base64,{BASE64}",
    "in lines, as MIME has it": base64.encodebytes(encoded(crop())).decode(),
    "URL-safe, without padding": base64.urlsafe_b64encode(encoded(crop())).decode().rstrip("="),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_crop_may_come_as_json_in_any_way_to_write_base64(running: ServiceProcess, way: str) -> None:
    alone = running.client.post("/v1/read", json={"image": WAYS[way]})
    assert alone.json()["text"] == running.read(crop()).json()["text"]
    assert words(json_batch(running, images=[WAYS[way]])) == [alone.json()["text"]]


def test_json_of_one_crop_may_name_options(running: ServiceProcess) -> None:
    answer = running.client.post(
        "/v1/read", params={"iterations": 2}, json={"image": BASE64, "iterations": 0}
    )
    assert answer.json()["stopped_at"] == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "body.image: Field required"),
        ({"image": 7}, "body.image"),
        ({"image": BASE64, "iteration": 1}, "body.iteration"),
        ({"image": "no base64!"}, "The image is not base64."),
    ],
)
def test_json_that_is_not_one_crop_is_refused(running: ServiceProcess, body: dict, said: str) -> None:
    answer = running.client.post("/v1/read", json=body)
    assert answer.status_code in (415, 422)
    assert said in answer.json()["detail"]


def test_two_files_for_one_crop_are_told_where_to_go(running: ServiceProcess) -> None:
    answer = running.client.post("/v1/read", files=FILES[:2])
    assert answer.status_code == 413
    assert answer.json()["detail"].endswith("Several crops go to /v1/read/batch.")


def test_json_crops_may_have_identifiers(running: ServiceProcess) -> None:
    response = json_batch(running, images=[{"id": "left", "image": BASE64}, BASE64])
    assert [item["id"] for item in response.json()["items"]] == ["left", None]


def test_a_broken_crop_has_its_own_error_and_the_others_are_read(running: ServiceProcess) -> None:
    broken = [("images", ("notes.txt", b"hello")), ("images", ("half.png", encoded(crop())[:40]))]
    first, second, third = batch(running, [*broken, FILES[0]]).json()["items"]
    assert (first["id"], first["error"]["status"]) == ("notes.txt", 415)
    assert (second["id"], second["error"]["status"]) == ("half.png", 400)
    assert third["result"]["text"] == running.read(crop(0)).json()["text"]


def test_text_that_is_not_base64_fails_alone(running: ServiceProcess) -> None:
    broken, sound = json_batch(running, images=["no base64!", BASE64]).json()["items"]
    assert broken["error"]["detail"] == "The image is not base64."
    assert "result" in sound


def test_a_batch_says_nothing_of_the_stages_unless_asked(running: ServiceProcess) -> None:
    assert all("iterations" not in item["result"] for item in batch(running).json()["items"])
    detailed = batch(running, detail=True).json()["items"]
    assert all(len(item["result"]["iterations"]) == 4 for item in detailed)


@pytest.mark.parametrize("detail", [True, False])
def test_an_answer_has_the_members_of_its_schema(running: ServiceProcess, detail: bool) -> None:
    answer = batch(running, [*FILES, ("images", ("b", b"broken"))], detail=detail).json()
    assert BatchResult.model_validate(answer).model_dump(exclude_unset=True) == answer


def test_options_hold_for_every_crop(running: ServiceProcess) -> None:
    assert {item["result"]["stopped_at"] for item in batch(running, iterations=1).json()["items"]} == {1}


def test_options_in_json_go_before_those_of_the_query(running: ServiceProcess) -> None:
    body = {"images": [BASE64], "iterations": 2}
    response = running.client.post("/v1/read/batch", json=body, params={"iterations": 1, "detail": True})
    (item,) = response.json()["items"]
    assert (item["result"]["stopped_at"], len(item["result"]["iterations"])) == (2, 3)


def test_one_crop_may_come_in_a_form(running: ServiceProcess) -> None:
    form = running.client.post("/v1/read", files={"image": ("crop.png", encoded(crop()))}).json()
    assert form["iterations"] == running.read().json()["iterations"]


def test_a_form_with_two_files_is_no_single_crop(running: ServiceProcess) -> None:
    response = running.client.post("/v1/read", files=FILES[:2])
    assert problem(response) == (413, "too-many-crops")


def test_a_form_field_that_is_no_file_is_refused_with_the_remedy(running: ServiceProcess) -> None:
    response = running.client.post("/v1/read", files={"image": b"x"}, data={"iterations": "1"})
    assert problem(response) == (422, "invalid-request")
    assert "'iterations'" in response.json()["detail"]
    assert "query" in response.json()["detail"]


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/plain", b"hello", (415, "unsupported-body")),
        ("application/json", b"{", (422, "invalid-request")),
        ("application/json", b"[]", (422, "invalid-request")),
        ("application/json", b'{"images": []}', (422, "invalid-request")),
        ("application/json", b'{"images": [1]}', (422, "invalid-request")),
        ("application/json", b'{"images": ["x"], "iterations": 4}', (422, "invalid-request")),
        ("multipart/form-data", b"", (422, "invalid-request")),
        ("multipart/form-data; boundary=x", b"", (422, "invalid-request")),
        ("multipart/form-data; boundary=x", b"--y", (422, "invalid-request")),
        ("multipart/form-data; boundary=x", b"--x--\r\n", (422, "invalid-request")),
    ],
)
def test_a_body_that_is_no_batch_is_refused(
    running: ServiceProcess, content_type: str, body: bytes, expected: tuple[int, str]
) -> None:
    headers = {"Content-Type": content_type}
    assert problem(running.client.post("/v1/read/batch", content=body, headers=headers)) == expected


def test_a_form_that_is_cut_off_is_refused(running: ServiceProcess) -> None:
    request = running.client.build_request("POST", "/v1/read/batch", files=FILES)
    body = request.read()
    for length in (len(body) - 5, len(body) // 2, 40):
        response = running.client.post(
            "/v1/read/batch",
            content=body[:length],
            headers={"Content-Type": request.headers["content-type"]},
        )
        assert problem(response) == (422, "invalid-request")


@pytest.mark.parametrize("as_json", [True, False])
def test_too_many_crops_are_refused(running: ServiceProcess, as_json: bool) -> None:
    response = json_batch(running, images=[""] * 65) if as_json else batch(running, FILES * 11)
    assert problem(response) == (413, "too-many-crops")


def test_a_batch_that_is_too_large_is_refused(running: ServiceProcess) -> None:
    response = batch(running, [("images", ("zeros", bytes(9 << 20)))])
    assert problem(response) == (413, "body-too-large")


def simulated(*arguments: str, milliseconds: int) -> Any:
    """A service whose simulated engine takes so long for each call of the whole network."""
    options = ["--engine", "simulated", "--graph", "fused", "--simulated-ms", str(milliseconds)]
    return service("--bundle", str(tiny_bundle()), *options, *arguments)


def queue_depth(running: ServiceProcess) -> int:
    (depth,) = re.findall(r"^abinet_queue_depth (\d+)", running.client.get("/metrics").text, re.MULTILINE)
    return int(depth)


def test_overload_is_answered_alike_for_one_crop_and_for_a_batch() -> None:
    limits = ["--max-queue", "2", "--max-batch-items", "2"]
    with simulated(*limits, milliseconds=1) as running, ThreadPoolExecutor(8) as pool:
        (worker,) = running.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        taken = []
        while queue_depth(running) < 2:
            taken.append(pool.submit(running.read))
        for refused in (running.read(), batch(running, FILES[:2])):
            assert problem(refused) == (429, "queue-full")
            assert int(refused.headers["retry-after"]) > 0
        os.kill(worker, signal.SIGCONT)
        assert {one.result(60).status_code for one in taken} <= {200, 429}


def test_a_client_that_hangs_up_is_counted_and_its_crops_are_dropped() -> None:
    with simulated(milliseconds=200) as running:
        with pytest.raises(httpx.ReadTimeout):
            running.client.post("/v1/read/batch", files=FILES * 5, timeout=0.3)
        assert running.read().status_code == 200
        metrics = running.client.get("/metrics").text
        assert 'abinet_rejected_total{reason="client-gone"} 30' in metrics
        assert "abinet_crops_total 1.0" in metrics
        batches = running.client.get("/v1/latency").json()["windows"]["1m"]["batches"]["abinet"]
        assert sum(int(size) * calls for size, calls in batches["sizes"].items()) < 30


def test_a_batch_in_flight_survives_sigterm() -> None:
    with simulated(milliseconds=200) as running, ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(batch, running)
        while not queue_depth(running):
            pass
        running.process.terminate()
        assert len(words(in_flight.result(60))) == 6
        assert running.process.wait(60) == 0


def test_the_other_device_reads_on_when_a_worker_dies() -> None:
    with simulated("--devices", "cpu,cpu", milliseconds=20) as running, ThreadPoolExecutor(1) as pool:
        one, _ = running.worker_pids(2)
        in_flight = pool.submit(batch, running, FILES * 10)
        os.kill(one, signal.SIGKILL)
        assert len(words(in_flight.result(60))) == 60
        assert running.client.get("/v1/model").json()["devices"] == ["cpu", "cpu"]
        assert len(running.worker_pids(3)) == 3
