"""The service on Ray, on a real cluster of two nodes of which one is killed; NPUs are pretended."""

from __future__ import annotations

import csv
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from empty_bundle import empty_bundle
from tiny_service import crop, encoded, problem

from abinet_client import Client

pytest.importorskip("ray", reason="Ray is not installed: the extra `ray` brings it")

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run` Ray would pack this folder and start its workers with uv as well.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # The nodes of the cluster below inherit what follows.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "service.ray_proxy.middlewares",
    # The one proxy is on the first node, and would keep every request there.
    "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
}

import ray
from ray import serve
from ray.cluster_utils import Cluster

from service.ray_app import app
from service.ray_arguments import read_arguments
from service.ray_read import read

pytestmark = pytest.mark.ray

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
