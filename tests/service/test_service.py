"""The service as a user runs it: `abinet serve` in a process of its own, over a real socket."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from pydantic import BaseModel

from service.http.schemas import BatchResult, ReadResult
from tests.support.hostile_images import png
from tests.support.tiny_service import ServiceProcess, crop, encoded, problem, service, tiny_bundle

pytestmark = pytest.mark.slow


def without_timings(response: httpx.Response) -> dict:
    assert response.status_code == 200, response.text
    return {key: value for key, value in response.json().items() if key != "timings_ms"}


def test_a_crop_is_read_with_what_was_believed_after_every_iteration(running: ServiceProcess) -> None:
    result = running.read().json()
    vision, *refinements = result["iterations"]
    assert vision["stage"] == "vision"
    assert [stage["iteration"] for stage in refinements] == [1, 2, 3]
    assert result["stopped_at"] == 3
    assert result["text"] == refinements[-1]["fused"]["text"]
    assert result["confidence"] == refinements[-1]["fused"]["confidence"]
    for word in [vision, *(stage[model] for stage in refinements for model in ("language", "fused"))]:
        assert word["text"] == "".join(character["character"] for character in word["characters"])
        assert all(0 < character["confidence"] <= 1 for character in word["characters"])


def test_without_iterations_vision_alone_reads(running: ServiceProcess) -> None:
    result = running.read(iterations=0).json()
    assert [stage["stage"] for stage in result["iterations"]] == ["vision"]
    assert (result["text"], result["stopped_at"]) == (result["iterations"][0]["text"], 0)


def test_fewer_iterations_are_the_first_of_more(running: ServiceProcess) -> None:
    one, three = running.read(iterations=1).json(), running.read(iterations=3).json()
    assert one["iterations"] == three["iterations"][:2]


def test_crops_read_at_the_same_time_read_as_each_alone(running: ServiceProcess) -> None:
    crops = [crop(seed) for seed in range(12)]
    alone = [running.read(image).json() for image in crops]
    with ThreadPoolExecutor(12) as pool:
        together = [response.json() for response in pool.map(running.read, crops)]
    assert [result["text"] for result in together] == [result["text"] for result in alone]
    for one, other in zip(together, alone, strict=True):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


def test_the_fused_graph_says_the_same(running: ServiceProcess) -> None:
    with service("--bundle", str(tiny_bundle()), "--graph", "fused") as fused:
        one, other = running.read().json(), fused.read().json()
        two_iterations = fused.read(iterations=2).json()
    assert [stage.get("fused", stage)["text"] for stage in one["iterations"]] == [
        stage.get("fused", stage)["text"] for stage in other["iterations"]
    ]
    assert other["confidence"] == pytest.approx(one["confidence"], abs=1e-5)
    assert two_iterations["iterations"] == other["iterations"][:3]


def test_early_stop_runs_no_iteration_too_many(running: ServiceProcess) -> None:
    result = running.read(early_stop=True).json()
    assert len(result["iterations"]) == result["stopped_at"] + 1


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
def test_the_usual_formats_are_read(running: ServiceProcess, extension: str) -> None:
    body = encoded(crop(), extension)
    assert running.client.post("/v1/read", content=body).status_code == 200


def test_a_body_that_is_no_image_is_refused(running: ServiceProcess) -> None:
    assert problem(running.client.post("/v1/read", content=b"hello")) == (415, "not-an-image")


def test_an_empty_body_is_refused(running: ServiceProcess) -> None:
    assert problem(running.client.post("/v1/read")) == (415, "not-an-image")


def test_half_an_image_is_refused(running: ServiceProcess) -> None:
    body = encoded(crop())
    assert problem(running.client.post("/v1/read", content=body[:40])) == (400, "broken-image")


def test_an_image_with_too_many_pixels_is_refused(running: ServiceProcess) -> None:
    body = png(60_000, 60_000, 8, 2, 0, 0, 0)
    assert problem(running.client.post("/v1/read", content=body)) == (413, "too-many-pixels")


def test_a_body_that_says_it_is_too_large_is_refused(running: ServiceProcess) -> None:
    assert problem(running.client.post("/v1/read", content=bytes(9 << 20))) == (413, "body-too-large")


def test_a_body_that_grows_too_large_is_refused(running: ServiceProcess) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(9):
            yield bytes(1 << 20)

    assert problem(running.client.post("/v1/read", content=chunks())) == (413, "body-too-large")


@pytest.mark.parametrize("iterations", ["4", "-1", "many"])
def test_iterations_that_the_model_does_not_have_are_refused(
    running: ServiceProcess, iterations: str
) -> None:
    assert problem(running.read(iterations=iterations)) == (422, "invalid-request")


def test_an_unknown_path_is_a_problem_document_too(running: ServiceProcess) -> None:
    assert problem(running.client.get("/v1/nothing")) == (404, "blank")


def test_a_request_keeps_the_identifier_that_it_came_with(running: ServiceProcess) -> None:
    response = running.client.get("/health/live", headers={"X-Request-ID": "shop-42"})
    assert response.headers["x-request-id"] == "shop-42"


def test_an_identifier_that_could_hurt_a_log_is_replaced(running: ServiceProcess) -> None:
    response = running.client.get("/health/live", headers={"X-Request-ID": "a b"})
    assert response.headers["x-request-id"] != "a b"


def test_the_stages_add_up_to_the_total(running: ServiceProcess) -> None:
    stages = running.read().json()["timings_ms"]
    assert stages.pop("total") == pytest.approx(sum(stages.values()), abs=0.01)


def test_without_detail_the_stages_are_left_out(running: ServiceProcess) -> None:
    whole, brief = without_timings(running.read()), without_timings(running.read(detail=False))
    del whole["iterations"]
    assert brief == whole


@pytest.mark.parametrize("options", [{"iteration": 1}, {"early_stop": "perhaps"}])
def test_an_option_that_does_not_exist_is_refused(running: ServiceProcess, options: dict) -> None:
    response = running.read(**options)
    assert problem(response) == (422, "invalid-request")
    assert f"query.{next(iter(options))}" in response.json()["detail"]


@pytest.mark.parametrize("deadline", ["soon", "0", "-5", "1.5"])
def test_a_deadline_that_is_no_number_of_milliseconds_is_refused(
    running: ServiceProcess, deadline: str
) -> None:
    response = running.client.post("/v1/read", content=encoded(crop()), headers={"X-Timeout-Ms": deadline})
    assert problem(response) == (422, "invalid-request")


def test_server_timing_says_what_the_body_says(running: ServiceProcess) -> None:
    response = running.read()
    stages = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert {name: float(value) for name, value in stages.items()} == response.json()["timings_ms"]


def test_the_model_route_shows_the_manifest(running: ServiceProcess) -> None:
    model = running.client.get("/v1/model").json()
    assert model["engine"].startswith("MindSpore ")
    assert model["manifest"]["charset"] == "abcdefghijklmnopqrstuvwxyz1234567890"


@pytest.mark.parametrize("model", [ReadResult, BatchResult])
def test_the_openapi_example_is_a_valid_result(running: ServiceProcess, model: type[BaseModel]) -> None:
    document = running.client.get("/openapi.json").json()
    (example,) = document["components"]["schemas"][model.__name__]["examples"]
    assert model.model_validate(example).model_dump(exclude_unset=True) == example


def test_openapi_names_what_it_refers_to(running: ServiceProcess) -> None:
    text = running.client.get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= set(schemas)
    assert {"BatchRequest", "ReadResult", "BatchResult"} <= set(schemas)


@pytest.mark.parametrize("detail", [True, False])
def test_an_answer_has_the_members_of_its_schema(running: ServiceProcess, detail: bool) -> None:
    answer = running.read(detail=detail).json()
    assert ReadResult.model_validate(answer).model_dump(exclude_unset=True) == answer


def test_a_request_in_flight_survives_the_death_of_its_worker() -> None:
    with service("--bundle", str(tiny_bundle())) as running, ThreadPoolExecutor(1) as pool:
        expected = without_timings(running.read())
        (worker,) = running.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        in_flight = pool.submit(running.read)
        _let_it_arrive(running)
        os.kill(worker, signal.SIGKILL)
        assert without_timings(in_flight.result(60)) == expected
        assert running.process.poll() is None


def test_a_worker_that_dies_idle_is_replaced_and_the_next_request_read() -> None:
    with service("--bundle", str(tiny_bundle())) as running:
        (worker,) = running.worker_pids()
        os.kill(worker, signal.SIGKILL)
        assert running.worker_pids(2)[1] != worker
        assert running.client.get("/health/ready").status_code == 200
        assert running.read().status_code == 200


def test_sigterm_finishes_what_is_in_flight_and_exits_with_0() -> None:
    with service("--bundle", str(tiny_bundle())) as running, ThreadPoolExecutor(1) as pool:
        (worker,) = running.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        in_flight = pool.submit(running.read)
        _let_it_arrive(running)
        running.process.terminate()
        os.kill(worker, signal.SIGCONT)
        assert in_flight.result(60).status_code == 200
        assert running.process.wait(60) == 0


def test_a_request_whose_deadline_passes_is_given_up_and_the_next_one_read(running: ServiceProcess) -> None:
    (worker,) = running.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    late = running.client.post("/v1/read", content=encoded(crop()), headers={"X-Timeout-Ms": "500"})
    os.kill(worker, signal.SIGCONT)
    assert problem(late) == (504, "deadline-exceeded")
    assert running.read().status_code == 200


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_without_devices_two_workers_read_and_either_may_die() -> None:
    environment = {"ABINET_DEVICES": ""}
    with service("--bundle", str(tiny_bundle()), environment=environment) as running:
        first, second = running.worker_pids(2)
        assert running.client.get("/v1/model").json()["devices"] == ["cpu", "cpu"]
        os.kill(first, signal.SIGKILL)
        assert running.read().status_code == 200
        running.worker_pids(3)
        os.kill(second, signal.SIGKILL)
        assert running.read().status_code == 200


def test_before_the_engine_is_ready_the_service_lives_but_takes_no_crops() -> None:
    starting = ServiceProcess("--bundle", str(tiny_bundle()))
    try:
        assert starting.client.get("/health/live").status_code == 200
        ready = starting.client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "starting"})
        refused = starting.read()
        assert problem(refused) == (503, "not-ready")
        assert int(refused.headers["retry-after"]) > 0
        assert starting.stop() == 0
    finally:
        starting.process.kill()


def _let_it_arrive(running: ServiceProcess) -> None:
    """The server answers in the order of arrival: once it has answered these, the earlier request is in."""
    for _ in range(20):
        with httpx.Client(base_url=running.client.base_url) as client:
            client.get("/health/live")
