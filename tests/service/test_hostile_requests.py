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
from random import Random
from typing import Any

import httpx
import pytest

from tests.support.hostile_requests import hostile_requests, wait_beside
from tests.support.processes import children
from tests.support.tiny_service import ServiceProcess, crop, encoded, problem, simulated_service

pytestmark = pytest.mark.slow

SOUND = base64.b64encode(encoded(crop())).decode()
INFER = "/v2/models/abinet/infer"
_STALL_S = 5.0
"""Far more than any probe should wait, also on a machine that is busy with something else."""

_BESIDE_HOSTILE_MS = 200.0
"""Four times what the service should have at most, for the same reason."""


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    with simulated_service("--simulated-ms", "1") as running:
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


@pytest.mark.parametrize("name", list(hostile_requests()))
def test_no_request_of_8_mib_holds_up_the_front(running: ServiceProcess, name: str) -> None:
    url, request = str(running.client.base_url), hostile_requests()[name]
    # Of ten times the best: others may keep this machine busy. If nobody does, the first is good enough.
    waits = (wait_beside(url, request) for _ in range(10))
    assert any(wait < _BESIDE_HOSTILE_MS for wait in waits)


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


def test_images_that_do_not_decode_are_no_faults_of_the_service_in_its_log(running: ServiceProcess) -> None:
    sound, before = encoded(crop()), len(running.lines)
    broken = [b"text", sound[:40], sound[:-20], encoded(crop(), ".jpg")[:300], b"BM" + bytes(60)]
    assert all(running.client.post("/v1/read", content=body).status_code in (400, 415) for body in broken)
    files = [("images", ("crop", body)) for body in [sound, *broken]]
    items = running.client.post("/v1/read/batch", files=files).json()["items"]
    assert ["result" in item for item in items] == [True, *[False] * len(broken)]
    said = [line for line in running.lines[before:] if "request_id=" not in line]
    assert said == []


# Before anybody looks at keys or routes.


def connected(running: ServiceProcess) -> socket.socket:
    url = running.client.base_url
    return socket.create_connection((url.host, url.port), timeout=60)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status of the answer, and all that came until the service closed the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            received += part
    return int(received.split(b" ", 2)[1] or 0) if received else 0, received


def refusal(running: ServiceProcess, *parts: bytes) -> int:
    with connected(running) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                connection.sendall(part)
        status, received = answer(connection)
        assert json.loads(received.partition(b"\r\n\r\n")[2])["status"] == status
        return status


def test_a_target_that_is_too_long_is_refused(running: ServiceProcess) -> None:
    assert refusal(running, b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n") == 414
    assert running.client.get("/health/live", params={"a": "b" * 5000}).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        [b"a: b\r\n"] * 101,
        [b"a: " + b"b" * 4000 + b"\r\n"] * 9,
        [b"a: " + b"b" * 40_000 + b"\r\n"],
        [b"a: ", *[b"b" * 4000] * 10_000],
        [b"a" * 4000] * 10_000,
    ],
    ids=["many", "large in all", "one large", "a value without end", "a name without end"],
)
def test_a_head_that_is_too_large_is_refused(running: ServiceProcess, head: list[bytes]) -> None:
    with without_a_stall(running):
        assert refusal(running, b"GET / HTTP/1.1\r\nHost: a\r\n", *head) == 431


def test_headers_that_clients_and_proxies_send_fit(running: ServiceProcess) -> None:
    headers = {f"X-Header-{number}": "v" * 250 for number in range(60)}
    assert running.client.get("/health/live", headers=headers).status_code == 200


def test_what_is_no_http_is_refused(running: ServiceProcess) -> None:
    assert refusal(running, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n") == 400


def test_a_head_that_does_not_come_is_given_up(running: ServiceProcess) -> None:
    with connected(running) as silent, connected(running) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert answer(slow)[0] == 408
        assert answer(silent) == (0, b"")


def test_a_client_that_pipelines_without_end_is_answered_a_little_and_then_left(
    running: ServiceProcess,
) -> None:
    with without_a_stall(running), connected(running) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)
        _, received = answer(connection)
        assert 1 <= received.count(b"HTTP/1.1 200") <= 20
        assert b" 400 " not in received


def test_a_few_pipelined_requests_are_answered_in_order(running: ServiceProcess) -> None:
    with connected(running) as connection:
        for number in range(10):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nX-Request-ID: %d\r\n\r\n" % number)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nX-Request-ID: x\r\nConnection: close\r\n\r\n")
        _, received = answer(connection)
    names = [line for line in received.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert names == [b"x-request-id: %s" % name for name in [*b"0 1 2 3 4 5 6 7 8 9 x".split()]]


@pytest.fixture(scope="module")
def narrow() -> Iterator[ServiceProcess]:
    """A service with little room: 20 connections, 16 MiB of bodies, 3 seconds, 8 between requests."""
    limits = ("--max-connections", "20", "--max-held-bytes", str(16 << 20))
    seconds = ("--timeout-s", "3", "--keep-alive-s", "8")
    with simulated_service(*limits, *seconds) as running:
        yield running


def test_an_idle_connection_is_kept_for_as_long_as_the_setting_says(narrow: ServiceProcess) -> None:
    probe = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(narrow) as connection:
        for _ in range(2):
            connection.sendall(probe)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            time.sleep(6)  # less than 8, more than uvicorn's own 5
        connection.sendall(probe)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.settimeout(30)
        assert connection.recv(1 << 16) == b""


def test_bodies_that_trickle_hold_no_more_than_their_room_and_for_no_longer_than_their_time(
    narrow: ServiceProcess,
) -> None:
    head = b"POST /v1/read HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(narrow)) for _ in range(10)]
        for connection in connections:
            connection.sendall(head + bytes(5_000_000))
        assert narrow.read().status_code == 200
        statuses = []
        for connection in connections:
            connection.settimeout(30)
            statuses.append(int(connection.recv(1 << 16).split(b" ", 2)[1]))
    assert set(statuses) == {408, 429}
    assert narrow.read().status_code == 200


def test_more_connections_than_may_be_turn_away_those_that_wait_and_never_a_probe(
    narrow: ServiceProcess,
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(narrow)).sendall(b"POST /v1/read HTTP/1.1\r\nHost: a\r\n")
        with httpx.Client(base_url=narrow.client.base_url) as client:
            assert client.get("/health/ready").status_code == 200
    assert any("20 connections are open" in line for line in narrow.lines)


def test_answers_that_nobody_reads_do_not_pile_up(running: ServiceProcess) -> None:
    with contextlib.ExitStack() as stack, without_a_stall(running):
        before = _memory(running)
        for _ in range(40):
            connection = stack.enter_context(connected(running))
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 400)
        time.sleep(1)
        assert _memory(running) - before < 100e6


_FAILING: dict[str, tuple[str, dict[str, str], bytes]] = {
    "no image": ("/v1/read", {}, b"x"),
    "a deadline that passes": ("/v1/read", {"X-Timeout-Ms": "1"}, encoded(crop())),
    "a wrong option": ("/v1/read?iterations=99", {}, b"x"),
    "no form": ("/v1/read/batch", {"Content-Type": "multipart/form-data; boundary=b"}, b"x"),
    "no JSON": ("/v1/read/batch", {"Content-Type": "application/json"}, b'{"images":["'),
    "no tensor": (INFER, {}, b"x"),
}


@pytest.mark.parametrize("name", list(_FAILING))
def test_bodies_of_requests_that_fail_are_not_kept(running: ServiceProcess, name: str) -> None:
    path, headers, start = _FAILING[name]
    body, before = start + bytes(7 << 20), _memory(running)
    for _ in range(30):
        assert running.client.post(path, content=body, headers=headers).status_code >= 400
    assert _memory(running) - before < 64e6


def test_bodies_of_clients_that_hang_up_are_not_kept(running: ServiceProcess) -> None:
    before = _memory(running)
    for _ in range(30):
        with connected(running) as connection:
            connection.sendall(b"POST /v1/read HTTP/1.1\r\nHost: a\r\nContent-Length: 7000000\r\n\r\n")
            connection.sendall(bytes(6_000_000))
    running.read()
    assert _memory(running) - before < 64e6


def _memory(running: ServiceProcess) -> float:
    text = running.client.get("/metrics").text
    line = next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes"))
    return float(line.split()[1])


# What held before, and has to hold on.


def test_broken_requests_harm_nobody(running: ServiceProcess) -> None:
    random, body = Random(1), encoded(crop())
    head = b"POST /v1/read HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nX-Timeout-Ms: 9000\r\n\r\n" % len(
        body
    )
    front = children(running.process.pid, "fronts.process")[0]
    for _ in range(300):
        broken = bytearray(head)
        for _ in range(random.choice([1, 2, 5, 20])):
            place, length = random.randrange(len(broken)), random.choice([0, 1, 1, 3])
            broken[place : place + length] = random.randbytes(random.choice([0, 1, 1, 4]))
        with connected(running) as connection, contextlib.suppress(ConnectionResetError):
            connection.sendall(broken + body)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1 << 16)
    assert running.read().status_code == 200
    assert children(running.process.pid, "fronts.process")[0] == front
    assert "Traceback" not in "".join(running.lines)


def any_json(random: Random, depth: int = 0) -> Any:
    kind = random.randrange(6 if depth > 3 else 9)
    if kind < 6:
        return [None, True, -1, 1e99, "\ud7ff", SOUND][kind]
    if kind == 6:
        return [any_json(random, depth + 1) for _ in range(random.randrange(4))]
    names = ["images", "image", "id", "inputs", "outputs", "name", "datatype", "shape", "data", "parameters"]
    return {random.choice(names): any_json(random, depth + 1) for _ in range(random.randrange(5))}


@pytest.mark.parametrize("path", ["/v1/read/batch", INFER])
def test_no_json_is_a_fault_of_the_service(running: ServiceProcess, path: str) -> None:
    random = Random(2)
    known = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [SOUND]}
    for _ in range(300):
        body = {name: any_json(random) for name in ("images", "inputs", "outputs", "parameters", "id")}
        if random.random() < 0.5:
            del body["inputs" if path != INFER else "images"]
        if random.random() < 0.5:
            body["inputs"] = [{**known, random.choice(list(known)): any_json(random)}]
        response = running.client.post(path, json=body)
        assert response.status_code in (200, 400, 413, 415, 422), (body, response.text)


@pytest.fixture(scope="module")
def locked() -> Iterator[ServiceProcess]:
    """A service that asks for a key."""
    keys = {"ABINET_API_KEYS": "secret", "ABINET_ADMIN_KEYS": "admin"}
    with simulated_service(environment=keys) as running:
        yield running


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/v1/read",
            "//v1/read",
            "/v1/read/",
            "/V1/READ",
            "/%76%31/read",
            "/v1%2fread",
            "/v1/read;/docs",
        ),
        *(
            "/health/live/../../v1/read",
            "/docs/..%2fv1/read",
            "/v1/read?/health/live",
            "/v1/read#/docs",
        ),
        *("http://a/v1/read", "http://a/health/live/../v1/read", "*", "/./v1/read", "/docs/../v1/read"),
        *("/v1/read/batch", "/v2/models/abinet/infer", "/v2/models/abinet/ready/../infer"),
        *("/v1/model/load", "/v1/model/load/", "/v1/model/promote?/health/live"),
    ],
)
def test_nothing_is_read_without_a_key(locked: ServiceProcess, target: str) -> None:
    body = encoded(crop())
    headers = b"Host: a\r\nConnection: close\r\nContent-Length: %d\r\nX-API-Key: wrong\r\n" % len(body)
    with connected(locked) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\n%s\r\n" % (target.encode(), headers) + body)
        status, received = answer(connection)
    assert status in (400, 401, 404, 405)
    assert b"simulated" not in received


def test_two_lengths_of_a_body_smuggle_no_request(locked: ServiceProcess) -> None:
    inner = b"GET /health/live HTTP/1.1\r\nHost: a\r\nX-Request-ID: smuggled\r\n\r\n"
    for lengths in (b"Content-Length: 0\r\nContent-Length", b"Transfer-Encoding: chunked\r\nContent-Length"):
        with connected(locked) as connection:
            head = b"POST /v1/read HTTP/1.1\r\nHost: a\r\n%s: %d\r\n\r\n" % (lengths, len(inner))
            connection.sendall(head + b"0\r\n\r\n" + inner)
            connection.shutdown(socket.SHUT_WR)
            assert b"smuggled" not in answer(connection)[1]
