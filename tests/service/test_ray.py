"""The service on Ray, on a real cluster of two nodes of which one is killed; NPUs are pretended."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from abinet_client import Client
from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import crop, encoded, problem

# ABINET_REQUIRE_RAY=1 says that it must be there.
if os.environ.get("ABINET_REQUIRE_RAY") != "1":
    pytest.importorskip("ray", reason="Ray is not installed: the extra `ray` brings it")

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run` Ray would pack this folder and start its workers with uv as well.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A dead node is known as such in 3 s and not in 20.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_initial_delay_ms": "500",
    # The nodes of the cluster below inherit what follows.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "service.on_ray.proxy.middlewares",
    # The one proxy is on the first node, and would keep every request there.
    "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
}

import ray
from ray import serve
from ray.cluster_utils import Cluster

from service.commands.read_on_ray.corpus import read
from service.commands.read_on_ray.files import image_files, place_of, write_whole
from service.on_ray.arguments import ArgumentError, read_arguments
from service.on_ray.proxy import ProblemMiddleware
from service.on_ray.reader import assigned_devices, resources
from service.ray_app import app

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Room for one replica or actor on each node, so that two of them are on both.
NODE: dict[str, Any] = {"num_cpus": 4, "resources": {"NPU": 1}, "object_store_memory": 80 << 20}
ONE_ON_EACH_NODE = {"replicas": 2, "devices": "ascend", "cpus": 1}
PATIENCE_S = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node, and this process connected to it."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def kill_second_node(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Adds a node to the cluster, and ends all of its processes without warning when called."""
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes(PATIENCE_S)
    done = False

    def kill() -> None:
        nonlocal done
        done = True
        raylet = node.all_processes["raylet"][0].process.pid
        workers = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
        for process in (raylet, *map(int, workers)):
            os.kill(process, signal.SIGKILL)
        cluster.remove_node(node, allow_graceful=False)

    yield kill
    if not done:
        cluster.remove_node(node)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return empty_bundle(tmp_path_factory.mktemp("bundle")).folder


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def url(cluster: Cluster, kill_second_node: Callable[[], None], bundle: str) -> Iterator[str]:
    """The application with a replica on each node, behind one proxy on the first."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(proxy_location="HeadOnly", http_options={"port": port})
    serve.run(app({"bundle": bundle, "engine": "simulated", "simulated_ms": "20", **ONE_ON_EACH_NODE}))
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def test_a_killed_node_loses_no_request_of_clients_that_try_again(
    url: str, kill_second_node: Callable[[], None]
) -> None:
    image, stop = encoded(crop()), threading.Event()
    texts: list[str] = []
    failures: list[Exception] = []

    def keep_reading() -> None:
        with Client(url, timeout=PATIENCE_S) as client:
            while not stop.is_set():
                try:
                    texts.append(client.read(image, detail=False).text)
                except Exception as error:
                    failures.append(error)

    assert problem(httpx.post(f"{url}/v1/read", content=b"none")) == (415, "not-an-image")
    clients = [threading.Thread(target=keep_reading) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: len(texts) > 50)
    kill_second_node()
    before = len(texts)
    wait_until(lambda: len(texts) > before + 100)
    stop.set()
    for client in clients:
        client.join()
    assert (set(texts), failures) == ({"simulated"}, [])


def test_a_killed_node_costs_no_file_its_one_row(
    kill_second_node: Callable[[], None], bundle: str, tmp_path: Path
) -> None:
    corpus, output = tmp_path / "corpus", tmp_path / "tables"
    image = encoded(crop())
    for number in range(240):
        path = corpus / str(number % 3) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    (corpus / "broken.png").write_bytes(image[:100])
    (corpus / "notes.txt").write_text("no image")
    (corpus / "huge.png").write_bytes(image * 10)
    arguments = read_arguments(
        {
            "bundle": bundle,
            "engine": "simulated",
            "simulated_ms": "20",
            "max_body_bytes": len(image) + 1,
            **ONE_ON_EACH_NODE,
        }
    )

    def kill_in_the_midst() -> None:
        wait_until(lambda: len(list(output.glob("part-*"))) >= 4)
        kill_second_node()

    killer = threading.Thread(target=kill_in_the_midst)
    killer.start()
    summary = read([str(corpus)], str(output), arguments, part_files=10)
    killer.join()
    rows = [row for part in sorted(output.glob("*")) for row in csv.DictReader(part.open())]
    assert sorted(row["path"] for row in rows) == sorted(map(str, corpus.rglob("*.png")))
    errors = {row["path"] for row in rows if row["error"]}
    assert errors == {str(corpus / "broken.png"), str(corpus / "huge.png")}
    assert {row["text"] for row in rows if not row["error"]} == {"simulated"}
    assert (summary.files, summary.failed, summary.parts) == (242, 2, 25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_queue": "0"}, "max_queue 0: Input should be greater than or equal to 1"),
        ({"replicsa": "2"}, "there is no setting replicsa; did you mean replicas?"),
        ({"replicas": "3", "max_replicas": "2"}, "max_replicas 2 is less than replicas 3"),
        ({"port": "80"}, "port: Ray's proxies listen, and their address is Ray's own setting"),
        ({"config": "none.toml"}, "none.toml: No such file or directory"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        read_arguments(arguments)
    assert str(raised.value) == message


def test_a_replica_takes_the_defaults_of_its_own_machine() -> None:
    assert read_arguments({"engine": "simulated"}).given == {"engine": "simulated"}


def test_replicas_are_fixed_or_follow_the_requests_under_way() -> None:
    def options(**arguments: str) -> Any:
        return app(arguments)._bound_deployment

    assert options(replicas="3").num_replicas == 3
    scaling = options(replicas="2", max_replicas="8", target_ongoing="16")._deployment_config
    limits = scaling.autoscaling_config
    assert (limits.min_replicas, limits.max_replicas, limits.target_ongoing_requests) == (2, 8, 16)


def test_npus_are_a_resource_and_cores_are_not() -> None:
    assert resources(("cpu", "ascend:0", "ascend:1")) == {"NPU": 2}
    assert resources(("cpu",)) == {}


def test_a_worker_counts_the_npus_it_sees_from_0() -> None:
    assert assigned_devices(("ascend:0", "cpu", "ascend:1"), ["5", "7"], "5,7") == (
        "ascend:0",
        "cpu",
        "ascend:1",
    )


def test_a_worker_that_sees_every_npu_takes_the_assigned_ones() -> None:
    assert assigned_devices(("ascend:0", "ascend:1"), ["5", "7"], None) == ("ascend:5", "ascend:7")


def asked(answer: Callable[[Scope, Receive, Send], Awaitable[None]]) -> httpx.Response:
    """What a client is told if Ray's proxy answers so."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(ProblemMiddleware(answer))
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            return await client.get("/", headers={"x-request-id": "mine"})

    return asyncio.run(ask())


def test_a_request_whose_replica_died_may_be_tried_again() -> None:
    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    response = asked(nothing)
    assert problem(response) == (503, "not-ready")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "about:blank"), (408, "urn:abinet:problem:deadline-exceeded")]
)
def test_what_the_proxy_says_in_plain_text_becomes_problem_details(status: int, kind: str) -> None:
    response = asked(PlainTextResponse("words of Ray", status))
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.json()["type"], response.json()["request_id"]) == (kind, "mine")


def test_what_a_replica_answers_passes_the_proxy_unchanged() -> None:
    response = asked(JSONResponse({"status": "starting"}, 503))
    assert (response.status_code, response.json()) == (503, {"status": "starting"})


def test_image_files_below_a_folder_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "deep/er/c.webp", ".hidden.png", ".cache/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = image_files(place_of(tmp_path.as_uri()))
    assert found == [str(tmp_path / name) for name in ("a.jpg", "b.PNG", "deep/er/c.webp")]


def test_a_table_replaces_what_a_killed_actor_left(tmp_path: Path) -> None:
    folder = place_of(str(tmp_path / "tables"))
    write_whole(folder, "part-000000.csv", b"half")
    write_whole(folder, "part-000000.csv", b"whole")
    assert {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()} == {
        "part-000000.csv": b"whole"
    }


def test_a_run_never_mixes_its_parts_with_those_of_another(tmp_path: Path) -> None:
    (tmp_path / "part-000000.csv").touch()
    with pytest.raises(ValueError, match="is not empty"):
        read([str(tmp_path)], str(tmp_path), read_arguments({}), part_files=10)


def run_command(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and the standard error of `abinet read --ray`."""
    done = subprocess.run(
        [sys.executable, "-m", "service", "read", "--ray", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    return done.returncode, done.stderr


def test_the_command_writes_tables_and_says_what_it_read(
    cluster: Cluster, bundle: str, tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(crop()))
    model = ["--engine", "simulated", "--bundle", bundle, "--address", cluster.address, "--part-files", "2"]
    exit_code, said = run_command(str(tmp_path), "--output", str(tmp_path / "tables"), *model)
    last = said.splitlines()[-1]  # Ray has its own words before
    assert exit_code == 0, said
    assert last.startswith("3 files in ")
    assert last.endswith(f" 0 could not be read; 2 parts in {tmp_path / 'tables'}")
    assert [path.name for path in sorted((tmp_path / "tables").iterdir())] == [
        "part-000000.csv",
        "part-000001.csv",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "none"], "engine none: Input should be 'auto', 'mindspore', 'lite' or 'simulated'"),
        (["--part-files", "0"], "argument --part-files: 0 is not a whole number from 1"),
        (["--iterations=-1"], "argument --iterations: -1 is not a whole number from 0"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    exit_code, said = run_command(str(tmp_path), "--output", "nowhere", *words)
    assert (exit_code, said.splitlines()[-1][-len(message) :]) == (2, message)


def test_without_ray_the_command_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(name='ray')")
    exit_code, said = run_command(
        str(tmp_path), "--output", "nowhere", environment={"PYTHONPATH": str(tmp_path)}
    )
    assert exit_code == 2
    assert said.startswith("abinet: ray is not installed: run it as `uv run --extra ray")
