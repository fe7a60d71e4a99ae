"""Clients that offer HTTP/2 or a WebSocket with a request are answered in HTTP/1.1, their body is read."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny_service import ServiceProcess, crop, encoded, simulated_service

pytestmark = pytest.mark.slow

OFFER = (
    b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
)
CROP = encoded(crop())
HEAD = b"POST /v1/read HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (OFFER, len(CROP))
CHUNKED = b"POST /v1/read HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n" % OFFER
CHUNK = b"%x\r\n%s\r\n" % (len(CROP), CROP)
PROBE = b"GET /health/live HTTP/1.1\r\n%s\r\n" % OFFER
PLAIN = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    with simulated_service() as running:
        yield running


def statuses(running: ServiceProcess, *pieces: bytes) -> list[int]:
    """Of all answers on one connection to a request in pieces, and to another at the end."""
    url = running.client.base_url
    received = b""
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.05)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                received += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", received)]


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ([HEAD + CROP], 1),
        ([HEAD, CROP], 1),
        ([HEAD[:-1], HEAD[-1:] + CROP[:9], CROP[9:]], 1),
        ([HEAD + CROP, HEAD + CROP], 2),
        ([(HEAD + CROP) * 3 + PLAIN], 4),
        ([CHUNKED + CHUNK + b"0\r\n\r\n"], 1),
        ([CHUNKED, CHUNK[:20], CHUNK[20:], b"0\r\n\r\n"], 1),
        ([PROBE], 1),
        ([PROBE * 3 + HEAD + CROP + PLAIN], 5),
    ],
)
def test_an_offer_of_http2_is_ignored_and_the_body_read(
    running: ServiceProcess, pieces: list[bytes], answers: int
) -> None:
    assert statuses(running, *pieces) == [200] * (answers + 1)


def test_a_websocket_is_offered_in_vain(running: ServiceProcess) -> None:
    offer = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert statuses(running, offer) == [200, 200]
    assert not [line for line in running.lines if "WebSocket" in line or "upgrade" in line]


def test_two_lengths_beside_an_offer_smuggle_nothing(running: ServiceProcess) -> None:
    both = b"POST /v1/read HTTP/1.1\r\n%sContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" % OFFER
    assert statuses(running, both + b"0\r\n\r\n" + PLAIN) == [400]


def test_a_body_behind_an_offer_has_the_limits_of_others(running: ServiceProcess) -> None:
    mebibyte = b"100000\r\n%s\r\n" % bytes(1 << 20)
    assert statuses(running, CHUNKED + mebibyte * 9 + b"0\r\n\r\n") == [413, 200]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_that_prefers_http2_reads_a_crop(running: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "crop.png").write_bytes(CROP)
    url = f"{running.client.base_url}/v1/read"
    command = ["curl", "--silent", "--http2", "--data-binary", f"@{tmp_path / 'crop.png'}", url, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"text":"simulated"' in done.stdout
