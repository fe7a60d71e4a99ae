"""Batches that are answered line by line, over sockets to a service whose engine takes its time."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.engines.simulated import TEXT
from tests.support.tiny_service import ServiceProcess, crop, encoded, problem, simulated_service

pytestmark = pytest.mark.slow

LINES = {"Accept": "application/x-ndjson"}
CALL_MS = 100
PNG = encoded(crop())
BASE64 = base64.b64encode(PNG).decode()
WIDE = encoded(crop().repeat(2, axis=1))


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    call = ("--simulated-ms", str(CALL_MS), "--simulated-ms-per-crop", "20")
    with simulated_service(*call, "--iterations", "0") as running:
        yield running


def lines(running: ServiceProcess, images: list[Any], **headers: str) -> list[tuple[float, dict[str, Any]]]:
    """What comes, and after how many seconds."""
    with running.client.stream(
        "POST", "/v1/read/batch", json={"images": images}, headers={**LINES, **headers}
    ) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, LINES["Accept"])
        started = time.monotonic()
        return [(time.monotonic() - started, json.loads(line)) for line in answer.iter_lines()]


def test_each_crop_is_a_line_with_its_index_and_its_name(running: ServiceProcess) -> None:
    images = [{"id": f"{index}.png", "image": BASE64} for index in range(5)]
    found = [line for _, line in lines(running, images)]
    assert sorted((line["index"], line["id"]) for line in found) == [(n, f"{n}.png") for n in range(5)]
    assert {line["result"]["text"] for line in found} == {TEXT}
    assert all({"timings_ms", "model"} <= set(line["result"]) for line in found)


def test_the_first_line_comes_long_before_the_last(running: ServiceProcess) -> None:
    found = lines(running, [BASE64] * 40)
    assert len(found) == 40
    assert found[-1][0] - found[0][0] > CALL_MS / 1e3


def test_a_crop_that_fails_is_a_line_at_once_and_the_others_are_read(running: ServiceProcess) -> None:
    found = [line for _, line in lines(running, [BASE64, "?", BASE64])]
    assert found[0]["index"] == 1
    assert found[0]["error"]["type"] == "urn:abinet:problem:not-an-image"
    assert sorted(line["index"] for line in found if "result" in line) == [0, 2]


def test_a_form_is_answered_so_too(running: ServiceProcess) -> None:
    files = [("images", (f"{n}.png", PNG)) for n in range(3)]
    answer = running.client.post("/v1/read/batch", files=files, headers=LINES)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert {(line["index"], line["id"]) for line in found} == {(n, f"{n}.png") for n in range(3)}


@pytest.mark.parametrize(
    ("images", "query", "expected"),
    [
        ([], "", (422, "invalid-request")),
        ([BASE64] * 65, "", (413, "too-many-crops")),
        ([BASE64], "?iterations=99", (422, "invalid-request")),
    ],
)
def test_a_request_that_is_refused_as_a_whole_is_a_problem_as_ever(
    running: ServiceProcess, images: list[str], query: str, expected: tuple[int, str]
) -> None:
    answer = running.client.post(f"/v1/read/batch{query}", json={"images": images}, headers=LINES)
    assert problem(answer) == expected


def test_a_request_of_which_nothing_is_read_in_time_is_a_problem_too(running: ServiceProcess) -> None:
    answer = running.client.post(
        "/v1/read/batch", json={"images": [BASE64]}, headers={**LINES, "X-Timeout-Ms": "1"}
    )
    assert problem(answer) == (504, "deadline-exceeded")


def test_after_the_deadline_what_was_not_read_has_lines_with_its_error(running: ServiceProcess) -> None:
    (worker,) = running.worker_pids()
    request: dict[str, Any] = {
        "json": {"images": [BASE64] * 40},
        "headers": {**LINES, "X-Timeout-Ms": "3000"},
    }
    found: list[dict[str, Any]] = []
    with running.client.stream("POST", "/v1/read/batch", **request) as answer:
        for line in answer.iter_lines():
            if not found:
                os.kill(worker, signal.SIGSTOP)
            found.append(json.loads(line))
    os.kill(worker, signal.SIGCONT)
    assert sorted(line["index"] for line in found) == list(range(40))
    kinds = ["error" in line and line["error"]["type"].rpartition(":")[2] for line in found]
    assert kinds == sorted(kinds, key=bool)
    assert set(kinds) == {False, "deadline-exceeded"}


def test_alternatives_come_with_the_lines(running: ServiceProcess) -> None:
    answer = running.client.post(
        "/v1/read/batch?alternatives=2", json={"images": [BASE64] * 3}, headers=LINES
    )
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [len(line["result"]["alternatives"]) for line in found] == [2, 2, 2]


def test_a_client_of_http_1_0_gets_its_lines_in_one_piece(running: ServiceProcess) -> None:
    body = json.dumps({"images": [BASE64, BASE64]}).encode()
    head = (
        b"POST /v1/read/batch HTTP/1.0\r\nContent-Type: application/json\r\nAccept: application/x-ndjson\r\n"
    )
    url = running.client.base_url
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    headers, _, content = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in headers
    assert len([json.loads(line) for line in content.splitlines()]) == 2


def test_the_crops_of_a_client_that_leaves_are_given_up_and_others_are_read(running: ServiceProcess) -> None:
    with (
        httpx.Client(base_url=running.client.base_url, timeout=60) as leaving,
        leaving.stream("POST", "/v1/read/batch", json={"images": [BASE64] * 64}, headers=LINES) as answer,
    ):
        next(answer.iter_lines())
    assert running.client.post("/v1/read", content=WIDE).json()["text"] == TEXT
    assert "Traceback" not in "".join(running.lines)
