"""The process that the user starts keeps the front alive: real processes, killed in every way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.empty_bundle import empty_bundle
from tests.support.processes import children, until
from tests.support.tiny_service import ROOT, ServiceProcess, service

pytestmark = pytest.mark.slow

SIMULATED = ("--engine", "simulated", "--simulated-ms", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(empty_bundle(tmp_path_factory.mktemp("bundle")).folder)


@pytest.fixture
def running(folder: Path) -> Iterator[ServiceProcess]:
    with service("--bundle", str(folder), *SIMULATED) as running:
        yield running


def front(running: ServiceProcess) -> int:
    """The front, once there is one: the oldest, because the other is a spare one."""
    fronts: list[int] = []

    def looked() -> bool:
        fronts.extend(children(running.process.pid, "fronts.process")[:1])
        return bool(fronts)

    until(looked)
    return fronts[0]


def is_replaced(running: ServiceProcess, before: int) -> bool:
    return front(running) != before


def reads(running: ServiceProcess) -> bool:
    """Whether a crop is read. A connection that came just when a front died is lost with it."""
    with contextlib.suppress(httpx.TransportError):
        return running.read().status_code == 200
    return False


def restarts(running: ServiceProcess) -> str:
    lines = running.client.get("/metrics").text.splitlines()
    return next(line for line in lines if line.startswith("abinet_front_restarts_total"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_front_that_dies_is_replaced_at_once_and_the_loaded_model_stays(
    running: ServiceProcess, number: signal.Signals
) -> None:
    before, workers = front(running), children(running.process.pid, "engines.worker")
    os.kill(before, number)
    until(partial(is_replaced, running, before), seconds=15)
    until(partial(reads, running))
    assert children(running.process.pid, "engines.worker") == workers
    assert restarts(running) == "abinet_front_restarts_total 1.0"
    assert f"was ended by signal {number}" in "".join(running.lines)


def test_a_spare_front_that_dies_is_no_loss(running: ServiceProcess) -> None:
    until(lambda: len(children(running.process.pid, "fronts.process")) == 2)
    before, spare = children(running.process.pid, "fronts.process")
    os.kill(spare, signal.SIGKILL)
    until(lambda: len(children(running.process.pid, "fronts.process")) == 1)
    os.kill(before, signal.SIGKILL)
    until(partial(is_replaced, running, before), seconds=15)
    until(partial(reads, running))


def test_the_spare_front_ends_with_the_service(running: ServiceProcess) -> None:
    until(lambda: len(children(running.process.pid, "fronts.process")) == 2)
    processes = children(running.process.pid, "fronts.process")
    assert running.stop() == 0
    assert not any(Path(f"/proc/{process}").exists() for process in processes)


def test_the_spare_front_ends_with_a_manager_that_is_killed(running: ServiceProcess) -> None:
    until(lambda: len(children(running.process.pid, "fronts.process")) == 2)
    processes = children(running.process.pid, "fronts.process")
    running.process.kill()
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))


def test_connections_wait_while_there_is_no_front(running: ServiceProcess) -> None:
    before = front(running)
    os.kill(before, signal.SIGKILL)
    until(lambda: "another is started" in "".join(running.lines))
    assert running.client.get("/health/live").status_code == 200


def test_a_front_that_dies_again_and_again_is_always_replaced_at_once(running: ServiceProcess) -> None:
    for _ in range(5):
        until(partial(reads, running))
        before = front(running)
        os.kill(before, signal.SIGKILL)
        until(partial(is_replaced, running, before), seconds=15)
    until(partial(reads, running))


def test_a_front_that_is_stopped_is_noticed_and_replaced(running: ServiceProcess) -> None:
    before = front(running)
    os.kill(before, signal.SIGSTOP)
    until(partial(is_replaced, running, before), seconds=60)
    until(partial(reads, running))


def test_a_worker_that_loads_for_long_again_costs_no_request(running: ServiceProcess) -> None:
    (worker,) = running.worker_pids()
    os.kill(worker, signal.SIGKILL)
    assert [running.read().status_code for _ in range(3)] == [200] * 3


def test_thousands_of_api_keys_reach_the_front(folder: Path, tmp_path: Path) -> None:
    keys = [f"key-{number:040}" for number in range(2500)]
    (tmp_path / "keys").write_text("\n".join(keys))
    arguments = ("--bundle", str(folder), "--api-keys-file", str(tmp_path / "keys"), *SIMULATED)
    with service(*arguments) as running:
        assert running.read().status_code == 401
        running.client.headers["X-API-Key"] = keys[-1]
        assert running.read().status_code == 200


@pytest.mark.parametrize("fronts", ["1", "2"])
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.2, 1.6, 2.0, 2.5, 3.0])
def test_sigterm_during_the_start_ends_it_quietly(folder: Path, fronts: str, seconds: float) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--bundle", str(folder)]
    process = subprocess.Popen(
        [*command, *SIMULATED, "--fronts", fronts], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    time.sleep(seconds)
    process.terminate()
    _, said = process.communicate(timeout=10)
    # Before the service has begun to listen to signals, the kernel ends it.
    assert process.returncode in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
    assert "Traceback" not in said
