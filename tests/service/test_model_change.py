"""A model takes another's place while clients are served: real services, whose engine is simulated."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from abinet_client import CanaryInfo, InvalidRequest, Unauthorized
from service.errors import ServiceError
from service.reading.model_change import bundle_in
from tests.support.both_clients import Connect, both_clients
from tests.support.empty_bundle import empty_bundle
from tests.support.processes import children
from tests.support.tiny_service import ROOT, ServiceProcess, crop, encoded, problem, service

pytestmark = pytest.mark.slow

IMAGE = encoded(crop())
KEYS = {"ABINET_API_KEYS": "guest", "ABINET_ADMIN_KEYS": "master"}
GUEST = {"X-API-Key": "guest"}
MASTER = {"X-API-Key": "master"}
SIMULATED = ("--engine", "simulated", "--simulated-ms", "1")


def spoiled(folder: Path, **changes: object) -> None:
    """A bundle of version "bad" whose manifest says something else."""
    folder.mkdir()
    manifest = {**empty_bundle(folder, version="bad").manifest, **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound bundles one, two and three, of these versions, and others that cannot be served."""
    folder = tmp_path_factory.mktemp("bundles")
    for version in ("one", "two", "three"):
        (folder / version).mkdir()
        empty_bundle(folder / version, version=version)
    for name in ("changed", "incomplete", "garbled"):
        spoiled(folder / name)
    (folder / "changed" / "refine_b4.mindir").write_text("not what was exported")
    (folder / "incomplete" / "vision_b1.mindir").unlink()
    (folder / "garbled" / "manifest.json").write_text('{"format": 1, ')
    spoiled(folder / "shallow", iterations=1)
    spoiled(folder / "stretched", preprocessing={"interpolation": "magic", "normalise": False})
    spoiled(folder / "featureless", features=-1)
    spoiled(folder / "graphless", graphs=[])
    spoiled(folder / "nameless", version=7)
    return folder


@pytest.fixture(scope="module")
def started(bundles: Path) -> Iterator[ServiceProcess]:
    arguments = ("--bundle", str(bundles / "one"), "--bundles", str(bundles), "--iterations", "2")
    with service(*arguments, *SIMULATED, "--devices", "cpu,cpu", environment=KEYS) as running:
        running.client.headers.update(GUEST)
        yield running


@pytest.fixture
def running(started: ServiceProcess) -> ServiceProcess:
    """Serves bundle one and no canary."""
    change(started, "rollback")
    assert load(started, "one").status_code == 200
    return started


def change(running: ServiceProcess, step: str, content: object = None) -> httpx.Response:
    return running.client.post(f"/v1/model/{step}", json=content, headers=MASTER)


def load(running: ServiceProcess, bundle: str, percent: float | None = None) -> httpx.Response:
    return change(running, "load", {"bundle": bundle, "canary_percent": percent})


def served(running: ServiceProcess) -> tuple[str, str | None, float | None]:
    """Versions of the main model and of the canary, and its share."""
    model = running.client.get("/v1/model").json()
    canary = model["canary"] or {"version": None, "percent": None}
    return model["version"], canary["version"], canary["percent"]


def version_that_reads(running: ServiceProcess, **headers: str) -> str:
    response = running.client.post("/v1/read", content=IMAGE, headers=headers)
    assert response.status_code == 200, response.text
    version: str = response.json()["model"]["version"]
    return version


def worker_pids(running: ServiceProcess) -> set[int]:
    """Engine workers that are there."""
    return set(children(running.process.pid, "engines.worker"))


def wait_for_line(running: ServiceProcess, text: str, count: int = 1) -> None:
    running._wait(lambda: sum(text in line for line in running.lines) >= count)


def wait_for_workers(running: ServiceProcess, count: int) -> set[int]:
    """The workers, when there are so many."""
    deadline = threading.Event()
    for _ in range(600):
        if len(worker_pids(running)) == count:
            break
        deadline.wait(0.05)
    assert len(worker_pids(running)) == count
    return worker_pids(running)


class Client(threading.Thread):
    """Reads crops one after the other until it is told to stop; notes the version of every answer."""

    def __init__(self, url: str, is_over: threading.Event) -> None:
        super().__init__()
        self._http = httpx.Client(base_url=url, headers=GUEST, timeout=60)
        self._is_over = is_over
        self.versions: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            response = self._http.post("/v1/read", content=IMAGE, params={"detail": False})
            if response.status_code == 200:
                self.versions.append(response.json()["model"]["version"])
            else:
                self.failures.append(response.text)
        self._http.close()


def under_load(running: ServiceProcess, test: Callable[[], None]) -> list[Client]:
    """Runs a test while four clients read, each of which has had answers before and after it."""
    is_over = threading.Event()
    clients = [Client(str(running.client.base_url), is_over) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        _wait_for_answers(clients)
        test()
        _wait_for_answers(clients)
    finally:
        is_over.set()
        for client in clients:
            client.join()
    return clients


def _wait_for_answers(clients: list[Client]) -> None:
    before = [len(client.versions) for client in clients]
    for client, count in zip(clients, before, strict=True):
        while len(client.versions) < count + 3 and not client.failures:
            threading.Event().wait(0.005)


@both_clients
def test_the_sdk_changes_the_model_and_its_answers_are_typed(
    connect: Connect, running: ServiceProcess
) -> None:
    url = str(running.client.base_url)
    with connect(url, api_key="master", timeout=60) as admin:
        canary = admin.load_model("two", canary_percent=5).canary
        assert canary
        assert canary == CanaryInfo(name=canary.name, version="two", percent=5, calibrated=canary.calibrated)
        assert admin.roll_back_model().canary is None
        admin.load_model("three", canary_percent=0)
        assert (admin.promote_model().version, served(running)[0]) == ("three", "three")
        for mistake in (lambda: admin.load_model("four"), admin.promote_model):
            with pytest.raises(InvalidRequest):
                mistake()
    with connect(url, api_key="guest") as guest, pytest.raises(Unauthorized):
        guest.promote_model()


def test_changes_under_load_lose_no_request_and_are_seen_once_by_every_client(
    running: ServiceProcess,
) -> None:
    before = worker_pids(running)

    def test() -> None:
        for bundle in ("two", "three"):
            answer = load(running, bundle)
            assert (answer.status_code, answer.json()["version"]) == (200, bundle)

    for client in under_load(running, test):
        assert client.failures == []
        seen = [version for version, _ in groupby(client.versions)]
        assert seen in (["one", "two", "three"], ["one", "three"])
    assert not before & wait_for_workers(running, 2)


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [
        ("changed", "refine_b4.mindir: its sha256 is not the manifest's"),
        ("incomplete", "vision_b1.mindir: named in the manifest but missing"),
        ("garbled", "manifest.json: not JSON"),
        ("shallow", "2 iterations asked for, but"),
        ("stretched", "unknown interpolation 'magic'"),
        ("featureless", "features is no whole number from 1 on"),
        ("graphless", ""),
        ("nameless", "version"),
    ],
)
@pytest.mark.parametrize("percent", [None, 50])
def test_a_bundle_that_cannot_be_served_changes_nothing(
    running: ServiceProcess, bundle: str, reason: str, percent: float | None
) -> None:
    before = wait_for_workers(running, 2)
    refusal = load(running, bundle, percent)
    assert problem(refusal) == (422, "bad-bundle")
    assert refusal.json()["detail"].startswith("Nothing has changed: ")
    assert reason in refusal.json()["detail"]
    assert "\n" not in refusal.json()["detail"]
    assert served(running) == ("one", None, None)
    assert version_that_reads(running) == "one"
    assert wait_for_workers(running, 2) == before


@pytest.mark.parametrize("name", ["four", "../one", "one/.", "/", "..", ".", "", "one\n"])
def test_only_a_folder_that_the_operator_put_there_can_be_named(running: ServiceProcess, name: str) -> None:
    refusal = load(running, name)
    assert problem(refusal) == (404, "no-such-model")
    assert "one, " in refusal.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"bundle": "two", "path": "/"},
        {"bundle": "two", "canary_percent": 101},
        {"bundle": "two", "canary_percent": -1},
        {"bundle": 2},
    ],
)
def test_a_load_that_is_not_well_formed_is_refused(running: ServiceProcess, content: object) -> None:
    assert problem(change(running, "load", content)) == (422, "invalid-request")


@pytest.mark.parametrize("step", ["load", "promote", "rollback"])
@pytest.mark.parametrize("headers", [{}, GUEST, {"Authorization": "Bearer masters"}])
def test_only_an_admin_key_changes_the_model(
    running: ServiceProcess, step: str, headers: dict[str, str]
) -> None:
    url = f"{running.client.base_url}/v1/model/{step}"
    assert problem(httpx.post(url, content=b"{", headers=headers)) == (401, "unauthorised")


def test_an_admin_key_is_no_api_key(running: ServiceProcess) -> None:
    refusal = running.client.post("/v1/read", content=IMAGE, headers=MASTER)
    assert problem(refusal) == (401, "unauthorised")


def test_loading_what_is_served_does_nothing(running: ServiceProcess) -> None:
    before = worker_pids(running)
    assert load(running, "one").status_code == 200
    assert worker_pids(running) == before


def test_the_canary_reads_its_share_and_always_the_same_requests(running: ServiceProcess) -> None:
    def readers() -> list[str]:
        return [version_that_reads(running, **{"X-Request-ID": f"request-{n}"}) for n in range(40)]

    assert load(running, "two", 25).json()["canary"]["percent"] == 25
    few = readers()
    assert readers() == few
    assert few.count("two") == 12
    assert load(running, "two", 75).status_code == 200
    assert served(running) == ("one", "two", 75)
    many = readers()
    assert many.count("two") == 34
    assert {"two"} == {late for early, late in zip(few, many, strict=True) if early == "two"}


def test_every_route_finds_the_same_model_for_a_request(running: ServiceProcess) -> None:
    load(running, "two", 50)
    image = base64.b64encode(IMAGE).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [image]}
    for number in range(8):
        headers = {"X-Request-ID": f"request-{number}"}
        one = version_that_reads(running, **headers)
        many = running.client.post("/v1/read/batch", json={"images": [image]}, headers=headers).json()
        inferred = running.client.post(
            "/v2/models/abinet/infer", json={"inputs": [tensor]}, headers=headers
        ).json()
        assert many["model"]["version"] == inferred["model_version"] == one


def test_a_header_chooses_the_version(running: ServiceProcess) -> None:
    load(running, "two", 0)
    assert {version_that_reads(running) for _ in range(5)} == {"one"}
    for version in ("one", "two"):
        assert version_that_reads(running, **{"X-Model-Version": version}) == version
    refusal = running.client.post("/v1/read", content=IMAGE, headers={"X-Model-Version": "three"})
    assert problem(refusal) == (404, "no-such-model")
    assert "'one' and 'two'" in refusal.json()["detail"]


def test_a_path_of_the_open_inference_protocol_chooses_the_version(running: ServiceProcess) -> None:
    load(running, "two", 0)
    assert running.client.get("/v2/models/abinet").json()["versions"] == ["one", "two"]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(IMAGE).decode()]}

    def infer(version: str) -> httpx.Response:
        path = f"/v2/models/abinet/versions/{version}/infer"
        return running.client.post(path, json={"inputs": [tensor]})

    assert [infer(version).json()["model_version"] for version in ("one", "two")] == ["one", "two"]
    assert infer("three").status_code == 404


def test_a_canary_that_is_promoted_takes_the_place_of_the_main_model(running: ServiceProcess) -> None:
    load(running, "two", 10)
    wait_for_workers(running, 4)
    assert change(running, "promote").json()["version"] == "two"
    assert served(running) == ("two", None, None)
    assert version_that_reads(running) == "two"
    wait_for_workers(running, 2)


def test_a_canary_that_is_rolled_back_is_gone(running: ServiceProcess) -> None:
    before = wait_for_workers(running, 2)
    load(running, "two", 100)
    assert version_that_reads(running) == "two"
    assert change(running, "rollback").json()["canary"] is None
    assert version_that_reads(running) == "one"
    assert wait_for_workers(running, 2) == before


def test_loading_the_canary_without_a_share_promotes_it(running: ServiceProcess) -> None:
    load(running, "two", 10)
    assert load(running, "two").status_code == 200
    assert served(running) == ("two", None, None)


def test_a_second_canary_is_refused(running: ServiceProcess) -> None:
    load(running, "two", 10)
    for percent in (None, 10):
        assert problem(load(running, "three", percent)) == (409, "model-conflict")
    assert served(running) == ("one", "two", 10)


def test_a_canary_of_the_main_models_version_is_refused(running: ServiceProcess) -> None:
    assert problem(load(running, "one", 10)) == (409, "model-conflict")


@pytest.mark.parametrize("step", ["promote", "rollback"])
def test_without_a_canary_there_is_nothing_to_decide(running: ServiceProcess, step: str) -> None:
    assert problem(change(running, step)) == (409, "model-conflict")


def test_a_canary_can_be_judged_by_its_metrics(running: ServiceProcess) -> None:
    load(running, "two", 0)

    def metrics() -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(running.client.get("/metrics").text)
            for sample in family.samples
        }

    before = metrics()
    for body in (IMAGE, b"no image"):
        running.client.post("/v1/read", content=body, headers={"X-Model-Version": "two"})
    after = metrics()
    for result in ("read", "not-an-image"):
        key = ("abinet_model_requests_total", result, "two")
        assert after[key] == before.get(key, 0) + 1
    duration = ("abinet_model_request_duration_seconds_count", "two")
    assert after[duration] == before.get(duration, 0) + 2
    assert after["abinet_model_info", "empty", "main", "one"] == 1
    assert after["abinet_model_info", "empty", "canary", "two"] == 1


def test_the_description_tells_admins_apart(running: ServiceProcess) -> None:
    document = running.client.get("/openapi.json").json()
    load_route = document["paths"]["/v1/model/load"]["post"]
    assert [list(one) for one in load_route["security"]] == [["adminBearer"], ["adminKey"]]
    assert load_route["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("LoadRequest")


def test_sighup_serves_what_the_bundle_is_now(tmp_path: Path) -> None:
    link = tmp_path / "bundle"

    def point_to(version: str) -> None:
        (tmp_path / version).mkdir()
        empty_bundle(tmp_path / version, version=version)
        new = tmp_path / "new"
        new.symlink_to(tmp_path / version)
        new.replace(link)

    point_to("one")
    with service("--bundle", str(link), *SIMULATED) as running:
        point_to("two")
        assert version_that_reads(running) == "one"
        running.process.send_signal(signal.SIGHUP)
        wait_for_line(running, "requests are read by empty two")
        assert version_that_reads(running) == "two"
        point_to("three")
        (tmp_path / "three" / "manifest.json").write_text("{}")
        running.process.send_signal(signal.SIGHUP)
        wait_for_line(running, "Nothing has changed: ")
        assert version_that_reads(running) == "two"
        wait_for_workers(running, 1)
        assert running.stop() == 0


def test_a_link_to_itself_among_the_bundles_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    assert bundle_in(tmp_path, "one") == tmp_path / "one"
    with pytest.raises(ServiceError, match="there are: one"):
        bundle_in(tmp_path, "loop")


def test_a_service_ends_with_its_terminal(tmp_path: Path) -> None:
    empty_bundle(tmp_path)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--bundle", str(tmp_path), *SIMULATED]
    with subprocess.Popen(
        ["setsid", "--ctty", *command], stdin=theirs, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        os.close(theirs)
        assert process.stderr
        for line in process.stderr:
            if "is ready after" in line:
                os.close(ours)
                break
        assert "finishing what is in flight" in process.stderr.read()
        assert process.wait(60) == 0
