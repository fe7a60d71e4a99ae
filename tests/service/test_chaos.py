"""Processes killed and stopped, models changed, descriptors, disk and memory taken away, all under load.

After each act: every request has had its own answer, counters have never fallen, memory is back; in the end
no process, no shared memory and no file is left. `ABINET_CHAOS_ROUNDS=10` repeats every act, with
one front too (`just chaos`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from tests.support.empty_bundle import empty_bundle
from tests.support.processes import children, descendants, until
from tests.support.tiny_service import ServiceProcess, crop, encoded, service

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

ROUNDS = int(os.environ.get("ABINET_CHAOS_ROUNDS", "1"))
FRONTS = [2] if ROUNDS == 1 else [2, 1]
"""The short form is for the harder case."""
SIMULATED = ("--engine", "simulated", "--simulated-ms", "2", "--timeout-s", "25")
READ = encoded(crop())
CLIENTS = 4
ADMIN = {"X-API-Key": "admin"}
SHARED_MEMORY = "/dev/shm"
_OWN_MOUNTS = """
mount -t tmpfs -o size=16m none "$TMPDIR" && mount -t tmpfs -o size=64m none /dev/shm && exec "$@"
"""
_COUNTER = re.compile(r"^(\w+(?:_total|_count|_bucket)(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


class Load:
    """Clients that read without a pause, and one that watches the counters."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._stopping = threading.Event()
        self._counters: dict[str, float] = {}
        self.statuses: list[int] = []
        self.unanswered = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Load:
        works = [self._read] * CLIENTS + [self._watch]
        self._threads = [threading.Thread(target=work, args=(place,)) for place, work in enumerate(works)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _read(self, place: int) -> None:
        for number in itertools.count():
            # A new connection every now and then, as clients come and go.
            with httpx.Client(base_url=self._url, timeout=60) as client:
                for part in range(20):
                    if self._stopping.is_set():
                        return
                    self._ask(client, f"{place}-{number}-{part}")
                    time.sleep(0.01)

    def _ask(self, client: httpx.Client, own: str) -> None:
        try:
            answer = client.post("/v1/read", content=READ, headers={"X-Request-ID": own})
        except httpx.TransportError:
            self.unanswered += 1
            return
        self.statuses.append(answer.status_code)
        if answer.headers["x-request-id"] != own:
            self.wrong.append(f"{own} got {answer.headers['x-request-id']}")

    def _watch(self, _: int) -> None:
        while not self._stopping.wait(0.1):
            with contextlib.suppress(httpx.TransportError):
                for name, value in _COUNTER.findall(httpx.get(self._url.join("/metrics"), timeout=10).text):
                    if float(value) < self._counters.get(name, 0.0):
                        self.wrong.append(f"{name} fell from {self._counters[name]:g} to {value}")
                    self._counters[name] = float(value)


class Running:
    """A service under chaos: its processes, its temporary folder, the memory that it has under load."""

    def __init__(self, service: ServiceProcess, fronts: int, temporary: Path) -> None:
        self.service, self.count, self.temporary = service, fronts, temporary
        self.usual_memory = 0

    @property
    def manager(self) -> int:
        return self.service.process.pid

    @property
    def fronts(self) -> list[int]:
        return children(self.manager, "fronts.process")[: self.count]

    @property
    def workers(self) -> list[int]:
        return children(self.manager, "engines.worker")

    def get(self, path: str) -> int:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.service.client.base_url.join(path), timeout=5).status_code
        return 0

    def load(self, bundle: str) -> httpx.Response:
        url = self.service.client.base_url.join("/v1/model/load")
        return httpx.post(url, json={"bundle": bundle}, headers=ADMIN, timeout=90)

    def memory(self) -> int:
        """Bytes of all its processes."""
        pids = [self.manager, *self.fronts, *self.workers]
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)


def kill_worker(running: Running) -> None:
    os.kill(running.workers[0], signal.SIGKILL)


def stop_worker(running: Running) -> None:
    (before,) = running.workers
    os.kill(before, signal.SIGSTOP)
    until(lambda: before not in running.workers, seconds=60)


def kill_front(running: Running) -> None:
    os.kill(running.fronts[0], signal.SIGKILL)


def stop_front(running: Running) -> None:
    before = running.fronts[0]
    os.kill(before, signal.SIGSTOP)
    until(lambda: before not in running.fronts, seconds=60)


def stop_manager(running: Running) -> None:
    os.kill(running.manager, signal.SIGSTOP)
    time.sleep(3)
    os.kill(running.manager, signal.SIGCONT)


def change_model(running: Running) -> None:
    assert running.load("2").json()["version"] == "2"
    assert running.load("1").json()["version"] == "1"


def load_broken_bundle(running: Running) -> None:
    assert running.load("broken").json()["type"].endswith("bad-bundle")


def run_out_of_descriptors(running: Running) -> None:
    before = running.fronts[0]
    limits = resource.prlimit(before, resource.RLIMIT_NOFILE)
    resource.prlimit(before, resource.RLIMIT_NOFILE, (20, limits[1]))
    time.sleep(2)
    resource.prlimit(before, resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def connections(running: Running, count: int) -> Iterator[list[socket.socket]]:
    url = running.service.client.base_url
    with contextlib.ExitStack() as stack:
        address = url.host, url.port or 80
        yield [stack.enter_context(socket.create_connection(address)) for _ in range(count)]


def send_half_requests(running: Running) -> None:
    with connections(running, 200) as halves:
        for half in halves:
            half.sendall(b"POST /v1/read HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\nhalf")
        time.sleep(1)


def send_slowly_and_read_slowly(running: Running) -> None:
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
    with connections(running, 200) as slow:
        for place in range(len(ask)):
            for one in slow:
                one.sendall(ask[place : place + 1])
            time.sleep(0.02)
        for _ in range(10):
            for one in slow:
                assert one.recv(1)
            time.sleep(0.1)


@contextlib.contextmanager
def full(running: Running, folder: str | Path) -> Iterator[None]:
    """Nothing more can be written there, as the service sees it."""
    filler = Path(f"/proc/{running.manager}/root{folder}") / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    try:
        yield
    finally:
        filler.unlink()


def fill_the_disk(running: Running) -> None:
    with full(running, running.temporary):
        kill_front(running)
        until(lambda: is_well(running), seconds=60)
        kill_worker(running)
        until(lambda: is_well(running), seconds=60)


def fill_shared_memory(running: Running) -> None:
    with full(running, SHARED_MEMORY):
        time.sleep(0.5)
        assert running.load("2").status_code in (422, 503)
        kill_worker(running)
        until(lambda: running.workers == [])
        time.sleep(2)


ACTS = [
    kill_worker,
    kill_front,
    stop_manager,
    change_model,
    load_broken_bundle,
    run_out_of_descriptors,
    send_half_requests,
    send_slowly_and_read_slowly,
    fill_the_disk,
    fill_shared_memory,
    stop_front,
    stop_worker,
]
_NEED_MOUNTS = (fill_the_disk, fill_shared_memory)
_LOSE_A_FRONT = (kill_front, stop_front, fill_the_disk)
"""What that front had begun to read has no answer: the client sees that its connection ends."""


def may_mount() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@contextlib.contextmanager
def running_service(
    fronts: int, folder: Path, *options: str, within: Sequence[str] = ()
) -> Iterator[Running]:
    for version in ("1", "2"):
        (folder / version).mkdir()
        empty_bundle(folder / version, version=version)
    (folder / "broken").mkdir()
    (folder / "temporary").mkdir()
    arguments = ("--bundle", str(folder / "1"), "--bundles", str(folder), "--fronts", str(fronts))
    simulated = (*SIMULATED, *options)
    environment = {"ABINET_ADMIN_KEYS": "admin", "TMPDIR": str(folder / "temporary")}
    with service(*arguments, *simulated, environment=environment, within=within) as started:
        yield Running(started, fronts, folder / "temporary")


@pytest.fixture(scope="module", params=FRONTS, ids=lambda fronts: f"{fronts} fronts")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # File systems of its own, which can be full without harm to anybody else.
    within = ("unshare", "--mount", "sh", "-c", _OWN_MOUNTS, "sh") if may_mount() else ()
    with running_service(request.param, tmp_path_factory.mktemp("chaos"), within=within) as running:
        with Load(running.service.client.base_url):
            time.sleep(5)
        running.usual_memory = running.memory()
        yield running


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__.replace("_", " "))
def test_every_request_has_its_answer_and_nothing_is_lost(
    running: Running, act: Callable[[Running], None]
) -> None:
    if act in _NEED_MOUNTS and not may_mount():
        pytest.skip("only root may mount the file systems that are to be full")
    for _ in range(ROUNDS):
        with Load(running.service.client.base_url) as load:
            until(lambda: len(load.statuses) >= CLIENTS)
            act(running)
            until(lambda: is_well(running), seconds=60)
            time.sleep(0.5)
        assert load.wrong == []
        assert set(load.statuses) <= {200, 503}
        assert load.statuses[-CLIENTS:] == [200] * CLIENTS
        assert load.unanswered <= (CLIENTS if act in _LOSE_A_FRONT else 0)
    assert running.memory() <= 1.1 * running.usual_memory


def is_well(running: Running) -> bool:
    return (
        len(running.fronts) == running.count
        and len(running.workers) == 1
        and [running.get("/health/ready") for _ in range(2 * running.count)] == [200] * 2 * running.count
    )


def shared_files() -> set[str]:
    """In shared memory, apart from other programs' semaphores: the service has none."""
    return {name for name in os.listdir(SHARED_MEMORY) if not name.startswith("sem.")}


@pytest.mark.parametrize("fronts", FRONTS)
@pytest.mark.parametrize("stopped", ["none", "front", "worker"])
def test_a_manager_that_is_killed_leaves_no_process_and_no_file(
    fronts: int, stopped: str, tmp_path: Path
) -> None:
    # What is in flight then waits for its deadline.
    with running_service(fronts, tmp_path, "--timeout-s", "5") as running:
        shared = shared_files()
        processes = descendants(running.manager)
        for pid in {"none": [], "front": running.fronts[:1], "worker": running.workers}[stopped]:
            os.kill(pid, signal.SIGSTOP)
        with Load(running.service.client.base_url) as load:
            time.sleep(0.5)
            running.service.process.kill()
            time.sleep(0.5)
        assert load.wrong == []
        until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes), seconds=45)
        until(lambda: os.listdir(running.temporary) == [], seconds=5)
        assert shared_files() <= shared
