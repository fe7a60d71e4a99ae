"""What one client can do to a service: requests that are wrong on purpose, over a real socket."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from functools import cache

import httpx
import pytest
from empty_bundle import empty_bundle
from tiny_service import ServiceProcess, crop, encoded, problem, service

SOUND = base64.b64encode(encoded(crop())).decode()
INFER = "/v2/models/abinet/infer"
_STALL_S = 5.0
"""Far more than any probe should wait, also on a machine that is busy with something else."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = empty_bundle(tmp_path_factory.mktemp("bundle")).folder
    with service("--bundle", folder, "--engine", "simulated", "--simulated-ms", "1") as running:
        yield running


@contextlib.contextmanager
def without_a_stall(running: ServiceProcess) -> Iterator[None]:
    """Probes are answered while the block runs."""
    slowest, over = [0.0], threading.Event()

    def probe() -> None:
        with httpx.Client(base_url=running.client.base_url, timeout=60) as client:
            while not over.is_set():
                started = time.monotonic()
                assert client.get("/health/live").status_code == 200
                slowest.append(time.monotonic() - started)
                over.wait(0.05)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert max(slowest) < _STALL_S


def many(element: str, separator: str = ",") -> str:
    """As many as 8 MB of JSON hold."""
    return separator.join([element] * (8_000_000 // (len(element) + 1)))


@cache
def wrong_bodies() -> dict[str, str]:
    members = "{" + ",".join(f'"{number}":0' for number in range(600_000)) + "}"
    return {
        "numbers": f'{{"images":[{many("0")}]}}',
        "objects": f'{{"images":[{many("{}")}]}}',
        "lists": f'{{"images":{many("[", "")}',
        "members": members,
        "members of a crop": f'{{"images":[{members}]}}',
        "just below the bound": f'{{"images":[{",".join(["0"] * 10_000)}]}}',
        "no object": "[" + many("0") + "]",
    }


@pytest.mark.parametrize("name", list(wrong_bodies()))
def test_json_of_many_wrong_elements_is_refused_at_once(running: ServiceProcess, name: str) -> None:
    with without_a_stall(running):
        response = running.client.post(
            "/v1/read/batch", content=wrong_bodies()[name], headers={"Content-Type": "application/json"}
        )
    assert problem(response) in [(422, "invalid-request"), (413, "too-many-crops")]
    assert len(response.content) < 2000


@pytest.mark.parametrize(
    "wrong",
    [
        f'{{"inputs":[{many("0")}]}}',
        f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[1],"data":[{many("0")}]}}]}}',
        f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[{many("1")}],"data":[]}}]}}',
    ],
    ids=["inputs", "data", "shape"],
)
def test_a_tensor_of_many_wrong_elements_is_refused_at_once(running: ServiceProcess, wrong: str) -> None:
    with without_a_stall(running):
        response = running.client.post(INFER, content=wrong)
    assert response.status_code in (413, 422)
    assert len(response.content) < 2000


def test_a_binary_tensor_of_a_million_empty_images_is_refused_at_once(running: ServiceProcess) -> None:
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [1],
                    "parameters": {"binary_data_size": 8_000_000},
                }
            ]
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    with without_a_stall(running):
        response = running.client.post(INFER, content=head + bytes(8_000_000), headers=headers)
    assert response.status_code == 413


def test_no_output_can_be_asked_for_twice(running: ServiceProcess) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [SOUND]}
    twice = running.client.post(INFER, json={"inputs": [tensor], "outputs": [{"name": "text"}] * 2})
    assert (twice.status_code, twice.json()) == (422, {"error": "The output 'text' is asked for twice."})
    often = running.client.post(INFER, json={"inputs": [tensor], "outputs": [{"name": "text"}] * 200_000})
    assert often.status_code == 422


def test_a_query_of_thousands_of_options_is_refused(running: ServiceProcess) -> None:
    response = running.client.post("/v1/read?" + "&".join(f"o{n}" for n in range(1000)), content=b"")
    assert problem(response) == (422, "invalid-request")


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain;version=abc",
        "text/plain;version=1.",
        "application/openmetrics-text;version=x",
        "application/openmetrics-text;version=;escaping=x",
        "text/plain;version=" + "9" * 5000,
        ";;;=,,",
    ],
)
def test_metrics_answer_whatever_format_is_asked_for(running: ServiceProcess, accept: str) -> None:
    response = running.client.get("/metrics", headers={"Accept": accept})
    assert response.status_code == 200
    assert "abinet_ready 1.0" in response.text


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "٣", "", "99"])
def test_a_length_of_json_that_is_none_is_refused(running: ServiceProcess, length: str) -> None:
    headers = {b"Inference-Header-Content-Length": length.encode()}
    response = running.client.post(INFER, content=b"{}", headers=headers)
    assert response.status_code == 422
    assert "the body's length" in response.json()["error"]


def test_clients_that_reset_their_connection_leave_no_traceback(running: ServiceProcess) -> None:
    host, port = running.client.base_url.host, running.client.base_url.port
    body = encoded(crop())
    head = b"POST /v1/read HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    for number in range(100):
        connection = socket.create_connection((host, port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(head + body + b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        time.sleep(number / 100 * 0.01)
        connection.close()
    assert running.client.get("/health/ready").status_code == 200
    said = "".join(running.lines)
    assert "Traceback" not in said
