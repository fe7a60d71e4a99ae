"""Clients that take their time, or have none: the others are served meanwhile. Real sockets, many of them."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.tiny_service import ServiceProcess, crop, encoded, simulated_service

pytestmark = pytest.mark.slow

READ = encoded(crop())
SLOW_CONNECTIONS = 2000
_OWN_FILES = 200
_STALL_S = 5.0
"""Far more than anybody should wait, also on a machine that is busy with something else."""


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    with simulated_service("--simulated-ms", "20") as running:
        yield running


def serves_others(running: ServiceProcess, count: int = 20) -> bool:
    """Whether a new client, and one that reads many crops, are answered in time."""
    with httpx.Client(base_url=running.client.base_url, timeout=_STALL_S) as client:
        statuses = [client.get("/health/ready").status_code]
        statuses += [client.post("/v1/read", content=READ).status_code for _ in range(count)]
    return statuses == [200] * (1 + count)


def connected(running: ServiceProcess, receive_bytes: int | None = None) -> socket.socket:
    """With so small a buffer for answers, if that is said."""
    url = running.client.base_url
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(60)
    connection.connect((url.host, url.port))
    return connection


def test_requests_that_have_no_time_are_refused_or_late_by_their_own_clock_and_cost_no_other(
    running: ServiceProcess,
) -> None:
    def impatient(milliseconds: int) -> list[tuple[int, float]]:
        answers = []
        with httpx.Client(base_url=running.client.base_url, timeout=60) as client:
            for _ in range(20):
                began = time.monotonic()
                answer = client.post("/v1/read", content=READ, headers={"X-Timeout-Ms": str(milliseconds)})
                answers.append((answer.status_code, time.monotonic() - began))
        return answers

    with ThreadPoolExecutor(8) as clients:
        sending = [clients.submit(impatient, milliseconds) for milliseconds in (1, 5, 10, 15) * 2]
        assert serves_others(running)
        answers = [answer for one in sending for answer in one.result()]
    assert {status for status, _ in answers} <= {200, 429, 504}
    assert {429, 504} & {status for status, _ in answers}
    assert max(seconds for _, seconds in answers) < _STALL_S


def test_clients_that_read_their_answers_slowly_hold_up_nobody_and_have_them_whole(
    running: ServiceProcess,
) -> None:
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    whole = len(running.client.get("/openapi.json").content)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(running, receive_bytes=4096)) for _ in range(200)]
        for connection in slow:
            connection.sendall(ask)
        for _ in range(3):
            for connection in slow:
                assert connection.recv(10)
            assert serves_others(running, count=5)
        for connection in slow[:20]:
            rest = b""
            while part := connection.recv(1 << 16):
                rest += part
            assert len(rest.partition(b"\r\n\r\n")[2]) == whole


def test_thousands_of_connections_that_send_byte_by_byte_hold_up_nobody(running: ServiceProcess) -> None:
    head = b"POST /v1/read HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(READ)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(running)) for _ in range(as_many_as_may_be())]
        for connection in slow[::2]:
            connection.sendall(head)  # these are slow with the body, the others with the head
        for place in range(4):
            for number, connection in enumerate(slow):
                connection.sendall((head if number % 2 else READ)[place : place + 1])
            assert serves_others(running, count=5)
    assert serves_others(running)


def as_many_as_may_be() -> int:
    """Connections that this process may open, which raises its limit if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SLOW_CONNECTIONS + _OWN_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return min(SLOW_CONNECTIONS, most - _OWN_FILES)
