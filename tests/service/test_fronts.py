"""Several front processes: real ones, that share the address, the engine workers and the metrics."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from abinet_client.local_service import local_service
from tests.support.empty_bundle import empty_bundle
from tests.support.processes import children, until
from tests.support.tiny_service import ServiceProcess, crop, encoded, service

pytestmark = pytest.mark.slow

SIMULATED = ("--engine", "simulated", "--simulated-ms", "2", "--fronts", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(empty_bundle(tmp_path_factory.mktemp("bundle")).folder)


@pytest.fixture
def running(folder: Path) -> Iterator[ServiceProcess]:
    with service("--bundle", str(folder), *SIMULATED) as running:
        yield running


@contextlib.contextmanager
def connections(running: ServiceProcess, count: int) -> Iterator[list[httpx.Client]]:
    """Clients with a connection of their own each: neighbours are at different fronts."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(base_url=running.client.base_url, timeout=60))
            for _ in range(count)
        ]
        for client in clients:
            client.get("/health/live")
        yield clients


def read(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/read", content=encoded(crop()))


def metric(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found.group(1))


def crops_counted(client: httpx.Client) -> float:
    return metric(client, "abinet_crops_total")


def answer_while_it_stops(running: ServiceProcess) -> httpx.Response:
    """What a request is answered that a service has begun to read when it is told to stop."""
    crops = [("images", encoded(crop()))] * 5  # at least one waits while a batch is read
    with connections(running, 1) as (client,), ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/v1/read/batch", files=crops)
        until(lambda: metric(running.client, "abinet_queue_depth") > 0)
        running.process.terminate()
        return answer.result()


def test_every_front_reads_and_each_tells_what_all_have_counted(running: ServiceProcess) -> None:
    with connections(running, 4) as clients:
        answers = [read(client) for client in clients]
        assert [answer.json()["text"] for answer in answers] == ["simulated"] * 4
        assert [crops_counted(client) for client in clients] == [4] * 4
        windows = [client.get("/v1/latency").json()["windows"]["5m"] for client in clients]
        assert [window["stages"]["total"]["count"] for window in windows] == [4] * 4
        assert [window["batches"]["vision"]["calls"] for window in windows] == [4] * 4


def test_a_private_service_may_have_several_fronts(folder: Path) -> None:
    with local_service(["--bundle", str(folder), "--port", "0", *SIMULATED]) as url:
        assert httpx.get(f"{url}/health/ready", timeout=60).status_code == 200


def test_connections_are_shared_out_evenly(running: ServiceProcess) -> None:
    with connections(running, 8):
        fronts = children(running.process.pid, "fronts.process")
        assert len(fronts) == 2
        open_connections = [_tcp_connections(front) for front in fronts]
        assert abs(open_connections[0] - open_connections[1]) <= 1


def _tcp_connections(process: int) -> int:
    ours = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 01 " in line}
    links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]
    return sum(link.removeprefix("socket:[").removesuffix("]") in ours for link in links)


def test_a_front_that_is_killed_is_replaced_and_the_other_answers_meanwhile(running: ServiceProcess) -> None:
    victim, survivor = children(running.process.pid, "fronts.process")
    os.kill(victim, signal.SIGKILL)
    with connections(running, 2) as clients:
        assert [read(client).status_code for client in clients] == [200, 200]
    until(lambda: len(children(running.process.pid, "fronts.process")) == 2)
    assert survivor in children(running.process.pid, "fronts.process")


def test_a_worker_that_is_killed_is_replaced_for_all_fronts(running: ServiceProcess) -> None:
    (worker,) = running.worker_pids()
    with connections(running, 2) as clients:
        os.kill(worker, signal.SIGKILL)
        running.worker_pids(2)
        until(lambda: all(client.get("/health/ready").status_code == 200 for client in clients))
        assert [read(client).status_code for client in clients] == [200, 200]
        assert 'abinet_worker_restarts_total{device="cpu"} 1.0' in clients[0].get("/metrics").text


def test_sigterm_finishes_what_is_in_flight_and_leaves_no_process(folder: Path) -> None:
    slow = ("--engine", "simulated", "--simulated-ms", "500", "--fronts", "2")
    with service("--bundle", str(folder), *slow) as running:
        processes = [
            *children(running.process.pid, "fronts.process"),
            *children(running.process.pid, "engines.worker"),
        ]
        assert answer_while_it_stops(running).status_code == 200
        assert running.process.wait(30) == 0
        assert len(processes) == 3
        until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))


def test_without_their_manager_fronts_and_workers_end(running: ServiceProcess) -> None:
    processes = [
        *children(running.process.pid, "fronts.process"),
        *children(running.process.pid, "engines.worker"),
    ]
    assert len(processes) == 3
    running.process.kill()
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))


def test_a_bundle_that_the_worker_refuses_ends_the_service_with_the_reason(folder: Path) -> None:
    # The graphs are empty files, which MindSpore refuses.
    refused = ServiceProcess("--bundle", str(folder), "--fronts", "2")
    try:
        assert refused.process.wait(60) == 2
        assert "written by MindSpore none" in refused.lines[-1]
    finally:
        refused.process.kill()


@pytest.fixture
def models(tmp_path: Path) -> Iterator[tuple[ServiceProcess, Path]]:
    """Two fronts that may load the bundles of a folder: versions 1 and 2, and one that is broken."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        empty_bundle(tmp_path / version, version=version)
    (tmp_path / "broken").mkdir()
    (tmp_path / "link").symlink_to("1")
    arguments = ("--bundle", str(tmp_path / "link"), "--bundles", str(tmp_path), *SIMULATED)
    with service(*arguments, environment={"ABINET_ADMIN_KEYS": "admin"}) as running:
        yield running, tmp_path


def change(client: httpx.Client, path: str, **body: str | float) -> httpx.Response:
    return client.post(f"/v1/model/{path}", json=body, headers={"X-API-Key": "admin"})


def versions(clients: list[httpx.Client], **headers: str) -> list[str]:
    answers = [client.post("/v1/read", content=encoded(crop()), headers=headers) for client in clients]
    return [answer.json()["model"]["version"] for answer in answers]


def test_a_change_of_the_model_reaches_every_front(models: tuple[ServiceProcess, Path]) -> None:
    running, _ = models
    with connections(running, 4) as clients:
        assert versions(clients) == ["1"] * 4
        assert change(clients[0], "load", bundle="2").json()["version"] == "2"
        assert versions(clients) == ["2"] * 4
        until(lambda: len(children(running.process.pid, "engines.worker")) == 1)
        assert versions(clients) == ["2"] * 4


def test_a_bundle_that_is_broken_changes_nothing_at_any_front(models: tuple[ServiceProcess, Path]) -> None:
    running, _ = models
    with connections(running, 2) as clients:
        refused = change(clients[0], "load", bundle="broken")
        assert refused.json()["type"].endswith("bad-bundle")
        assert versions(clients) == ["1"] * 2


def test_a_canary_is_the_same_at_every_front(models: tuple[ServiceProcess, Path]) -> None:
    running, _ = models
    with connections(running, 2) as clients:
        assert change(clients[0], "load", bundle="2", canary_percent=0).status_code == 200
        assert versions(clients) == ["1"] * 2
        assert versions(clients, **{"X-Model-Version": "2"}) == ["2"] * 2
        assert change(clients[1], "promote").status_code == 200
        assert versions(clients) == ["2"] * 2


def test_a_front_that_is_replaced_serves_what_the_others_do(models: tuple[ServiceProcess, Path]) -> None:
    running, _ = models
    with connections(running, 1) as clients:
        change(clients[0], "load", bundle="2")
    victim, _ = children(running.process.pid, "fronts.process")
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(children(running.process.pid, "fronts.process")) - {victim}) == 2)
    with connections(running, 4) as clients:
        until(lambda: all(client.get("/health/ready").status_code == 200 for client in clients))
        assert versions(clients) == ["2"] * 4


def test_sighup_changes_the_model_of_every_front(models: tuple[ServiceProcess, Path]) -> None:
    running, folder = models
    (folder / "link").unlink()
    (folder / "link").symlink_to("2")
    running.process.send_signal(signal.SIGHUP)
    with connections(running, 4) as clients:
        until(lambda: versions(clients) == ["2"] * 4)


def test_counters_go_on_while_a_front_is_stopped_and_when_another_takes_its_place(
    running: ServiceProcess,
) -> None:
    with connections(running, 2) as clients:
        assert [read(client).status_code for client in clients] == [200, 200]
    victim, _ = children(running.process.pid, "fronts.process")
    os.kill(victim, signal.SIGSTOP)
    counted = []

    def is_replaced() -> bool:
        with contextlib.suppress(httpx.TransportError):
            counted.append(crops_counted(httpx.Client(base_url=running.client.base_url, timeout=3)))
        return victim not in children(running.process.pid, "fronts.process")

    until(is_replaced)
    with connections(running, 4) as clients:
        counted += [crops_counted(client) for client in clients]
    assert set(counted) == {2}


def test_a_change_that_a_front_cannot_make_fails_and_is_undone(models: tuple[ServiceProcess, Path]) -> None:
    running, _ = models
    with connections(running, 2) as clients:
        unable, _ = children(running.process.pid, "fronts.process")
        limits = resource.prlimit(unable, resource.RLIMIT_NOFILE)
        # Room for one more file: it can look at the bundle, but needs two for a connection to the worker.
        files = {int(link.name) for link in Path(f"/proc/{unable}/fd").iterdir()}
        room = next(number for number in range(len(files) + 1) if number not in files) + 1
        resource.prlimit(unable, resource.RLIMIT_NOFILE, (room, limits[1]))
        refused = change(clients[0], "load", bundle="2")
        assert (refused.status_code, refused.json()["detail"][:20]) == (503, "Nothing has changed:")
        until(lambda: versions(clients) == ["1"] * 2)
        resource.prlimit(unable, resource.RLIMIT_NOFILE, limits)
        until(lambda: len(children(running.process.pid, "engines.worker")) == 1)
        assert change(clients[0], "load", bundle="2").status_code == 200
        assert versions(clients) == ["2"] * 2


def test_a_front_that_cannot_be_started_for_want_of_descriptors_is_started_later(
    running: ServiceProcess,
) -> None:
    limits = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
    victim, _ = children(running.process.pid, "fronts.process")
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (10, limits[1]))
    os.kill(victim, signal.SIGKILL)
    until(lambda: "a front cannot be started: " in "".join(running.lines))
    assert len(children(running.process.pid, "fronts.process")) == 1
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limits)
    until(lambda: len(children(running.process.pid, "fronts.process")) == 2)


def test_sigterm_ends_a_service_whose_fronts_cannot_start(running: ServiceProcess) -> None:
    limits = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (10, limits[1]))
    for front in children(running.process.pid, "fronts.process"):
        os.kill(front, signal.SIGKILL)
    until(lambda: "a front cannot be started: " in "".join(running.lines))
    running.process.terminate()
    # Before it tidies up, for which it needs to open files.
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limits)
    assert running.process.wait(20) == 0


def test_what_takes_longer_than_a_service_has_to_stop_is_told_so(folder: Path) -> None:
    slow = ("--engine", "simulated", "--simulated-ms", "4000", "--fronts", "2", "--drain-s", "0.5")
    with service("--bundle", str(folder), *slow) as running:
        answer = answer_while_it_stops(running)
        assert answer.status_code == 503
        assert answer.json()["type"].endswith("not-ready")
        assert running.process.wait(30) == 0
        assert "route=/v1/read/batch status=503 " in "".join(running.lines)
        assert "Traceback" not in "".join(running.lines)


def test_few_descriptors_leave_room_for_connections(folder: Path) -> None:
    """As many files as `ulimit -n 64` allows."""
    few = ("prlimit", "--nofile=64:64")
    with service("--bundle", str(folder), *SIMULATED, within=few) as running:
        with connections(running, 20) as clients:
            assert [read(client).status_code for client in clients] == [200] * 20
        assert "a front can take only 32 connections" in "".join(running.lines)
