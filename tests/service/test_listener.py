"""Where the service listens."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from service.engines.simulated import TEXT
from service.http.listener import address_of, listening
from service.settings.model import Settings
from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import crop, encoded

pytestmark = pytest.mark.slow


def test_port_0_takes_a_free_one_and_says_which() -> None:
    with listening(Settings(port=0)) as (listener,):
        host, port = listener.getsockname()
        assert address_of([listener]) == f"http://{host}:{port}"
        assert port > 0


def test_an_ipv6_address_is_written_as_a_url_has_it() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    for host in ("::1", "[::1]"):
        with listening(Settings(host=host, port=0)) as listeners:
            assert address_of(listeners).startswith("http://[::1]:")


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.1", "a" * 70, "[::1", "::1]"])
def test_a_host_that_is_not_ours_is_refused_with_the_remedy(host: str) -> None:
    refused = pytest.raises(ValueError, match=r"cannot listen on .*; choose another --host$")
    with refused, listening(Settings(host=host, port=0)):
        pass


def test_connections_do_not_wait_for_acknowledgements() -> None:
    with listening(Settings(port=0)) as (listener,):
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_refused_with_the_remedy() -> None:
    with listening(Settings(port=0)) as (listener,):
        port = listener.getsockname()[1]
        refused = pytest.raises(ValueError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--port")
        with refused, listening(Settings(port=port)):
            pass


def test_a_unix_socket_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(Settings(uds=path)) as listeners:
        assert address_of(listeners) == f"unix:{path}"
        assert path.is_socket()
    assert not path.exists()


def test_a_unix_socket_that_a_killed_service_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(path))
    left_behind.close()
    with listening(Settings(uds=path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_in_use_and_a_file_are_left_alone(tmp_path: Path) -> None:
    used, file = tmp_path / "used", tmp_path / "file"
    file.write_text("precious")
    with listening(Settings(uds=used)):
        for path in (used, file):
            with pytest.raises(ValueError, match="choose another --uds"), listening(Settings(uds=path)):
                pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(used))
    assert file.read_text() == "precious"


def test_the_service_reads_over_a_unix_socket(tmp_path: Path) -> None:
    bundle, path = tmp_path / "bundle", tmp_path / "socket"
    bundle.mkdir()
    empty_bundle(bundle)
    command = [sys.executable, "-m", "service", "serve", "--engine", "simulated"]
    process = subprocess.Popen(
        [*command, "--bundle", str(bundle), "--uds", str(path)], stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://abinet") as client:
            _wait_until_ready(client)
            assert client.post("/v1/read", content=encoded(crop())).json()["text"] == TEXT
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.get("/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not ready within a minute")


def _reached(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["::", "[::]", "localhost"])
def test_any_address_and_localhost_are_those_of_both_families(host: str) -> None:
    with listening(Settings(host=host, port=0)) as listeners:
        port = listeners[0].getsockname()[1]
        assert (_reached("127.0.0.1", port), _reached("::1", port)) == (True, True)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_localhost_is_refused_if_another_service_has_one_of_its_addresses() -> None:
    with listening(Settings(host="::1", port=0)) as (other,):
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match="--port"), listening(Settings(host="localhost", port=port)):
            pass
        assert not _reached("127.0.0.1", port)
