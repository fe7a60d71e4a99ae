"""Whose connections are used: after a fork, on a second event loop, and beside a proxy of the environment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from abinet_client import AsyncClient, Client, Retry, UnexpectedAnswer
from service.engines.simulated import TEXT
from tests.support.both_clients import Connect, both_clients
from tests.support.tiny_service import ServiceProcess, crop, encoded

pytestmark = pytest.mark.slow

CROP = encoded(crop())
ONCE = Retry(attempts=1)


class _Echo(BaseHTTPRequestHandler):
    """Says which image it was sent, as the text that was read."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = ANSWER % body
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Request-ID", self.headers["X-Request-ID"])
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


ANSWER = (
    b'{"text":"%s","confidence":1,"stopped_at":0,"model":{"name":"echo","version":"1"},'
    b'"timings_ms":{"decode":0,"queue":0,"batch":0,"vision":0,"refine":0,"encode":0,"total":0}}'
)


def test_forked_processes_read_their_own_answers() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Client(f"http://127.0.0.1:{server.server_address[1]}", retry=ONCE) as client:
            assert client.read(b"parent").text == "parent"
            children = []
            for number in range(6):
                if (pid := os.fork()) == 0:
                    words = [f"{number}-{turn}" for turn in range(12)]
                    is_right = False
                    try:
                        is_right = [client.read(word.encode()).text for word in words] == words
                    finally:
                        os._exit(0 if is_right else 1)
                children.append(pid)
            assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
            assert client.read(b"parent again").text == "parent again"
    finally:
        server.shutdown()


def test_an_async_client_works_on_one_event_loop_after_another(simulated: ServiceProcess) -> None:
    client = AsyncClient(str(simulated.client.base_url))

    async def read_twice() -> list[str]:
        return [(await client.read(CROP)).text for _ in range(2)]

    assert [asyncio.run(read_twice()) for _ in range(3)] == [[TEXT] * 2] * 3

    async def close() -> None:
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.read(CROP)

    asyncio.run(close())


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_answer_to_another_request_of_ours_is_no_answer(is_ours: bool) -> None:
    names: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        names.append(request.headers["x-request-id"])
        name = names[0] if is_ours else "a-proxy-has-its-own"
        return httpx.Response(200, content=ANSWER % b"word", headers={"X-Request-ID": name})

    with Client(transport=httpx.MockTransport(answer), retry=ONCE) as client:
        assert client.read(CROP).text == "word"
        if is_ours:
            with pytest.raises(UnexpectedAnswer, match="another request"):
                client.read(CROP)
        else:
            assert client.read(CROP).text == "word"
    assert len(set(names)) == 2


NOWHERE = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": "fe80::/10",
    "SSL_CERT_FILE": "/no/such/file",
}


@pytest.mark.parametrize("name", list(NOWHERE))
@both_clients
def test_a_service_on_this_machine_is_reached_whatever_the_environment_says(
    connect: Connect, name: str, simulated: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, NOWHERE[name])
    monkeypatch.setenv(name.lower(), NOWHERE[name])
    for host in ("127.0.0.1", "localhost"):
        address = f"http://{host}:{simulated.client.base_url.port}"
        with connect(address, retry=ONCE) as client:
            assert client.read(CROP).text == TEXT


@pytest.mark.parametrize("name", ["ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"])
@both_clients
def test_a_variable_that_cannot_be_followed_is_named(
    connect: Connect, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, NOWHERE[name])
    if name == "NO_PROXY":
        monkeypatch.setenv("HTTP_PROXY", NOWHERE["HTTP_PROXY"])
    with pytest.raises(ValueError, match=rf"{name}={NOWHERE[name]}.* in the environment: "):
        connect("https://abinet.example")


@pytest.mark.parametrize("words", [("read", "--url", "{url}", "{crop}"), ("eval", "{url}", "{set}")])
def test_commands_say_in_one_line_which_variable_hinders_them(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "crop.png").write_bytes(CROP)
    (tmp_path / "labels.tsv").write_text("crop.png\tword\n")
    places = {"url": "https://abinet.example", "crop": tmp_path / "crop.png", "set": tmp_path}
    command = [sys.executable, "-m", "service", *(word.format(**places) for word in words)]
    environment = {**os.environ, "ALL_PROXY": NOWHERE["ALL_PROXY"]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "ALL_PROXY=socks5://127.0.0.1:9 in the environment" in line
