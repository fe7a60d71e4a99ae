"""Alert rules and dashboard, judged by Prometheus itself against a service that runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import service

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
RULES = DOCKER / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "abinet.json").read_text(encoding="utf-8"))
ALERTS = {rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}


def tool(name: str) -> str:
    """The path of one of Prometheus' programs."""
    path = shutil.which(name)
    if path is None and os.environ.get("ABINET_REQUIRE_PROMETHEUS") != "1":
        pytest.skip(f"no {name}: Debian's package prometheus has it")
    return path or name


def dashboard_expressions() -> dict[str, str]:
    """The expression of every graph, its variables replaced, by panel and legend."""
    values = {"$__rate_interval": "1m", "$job": "abinet", "$instance": ".*"}
    expressions = {}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            expressions[f"{panel['title']} / {target['legendFormat']}"] = expression
    return expressions


class Prometheus:
    """A Prometheus that runs, and what it is asked."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=f"http://{address}", timeout=10)

    def wait_until_ready(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if self._client.get("/-/ready").status_code == 200:
                    return
            time.sleep(0.05)
        pytest.fail("Prometheus has not started within a minute")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now; fails with the reason if it is no expression."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        return answer["data"]["result"]


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two answers of `/metrics`, between which the service has read, refused, and lost its engine worker."""
    folder = tmp_path_factory.mktemp("bundle")
    empty_bundle(folder)

    def use() -> str:
        while running.read().status_code != 200:
            time.sleep(0.1)
        running.client.post("/v1/read", content=b"no image")
        return running.client.get("/metrics").text

    with service("--bundle", str(folder), "--engine", "simulated") as running:
        os.kill(running.worker_pids()[0], signal.SIGKILL)
        running.worker_pids(2)
        return [use(), use()]


def as_openmetrics(snapshots: list[str], first: float, interval_s: float) -> str:
    """The snapshots as samples of one job at these times, which promtool can store.

    So they need not be scraped: Prometheus takes up to ten seconds before it scrapes for the first time.
    """
    lines = []
    for number, text in enumerate(snapshots):
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        for name, labels, value in [("up", {}, 1.0), *((s.name, s.labels, s.value) for s in samples)]:
            pairs = {"job": "abinet", "instance": "a", **labels}
            written = ",".join(f"{key}={json.dumps(text)}" for key, text in pairs.items())
            lines.append(f"{name}{{{written}}} {value} {first + number * interval_s:.3f}")
    return "\n".join([*lines, "# EOF\n"])


@pytest.fixture(scope="module")
def prometheus(snapshots: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that knows the snapshots, the later one as of now."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples").write_text(as_openmetrics(snapshots, time.time() - 15, 15))
    store = [tool("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples", "data"]
    subprocess.run(store, cwd=folder, check=True, capture_output=True)
    (folder / "prometheus.yml").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [tool("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command += ["--web.listen-address", address, "--log.level=error"]
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            started = Prometheus(address)
            started.wait_until_ready()
            yield started
        finally:
            process.kill()


def test_promtool_accepts_the_configuration() -> None:
    config = DOCKER / "prometheus" / "prometheus.yml"
    done = subprocess.run([tool("promtool"), "check", "config", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    tests = DOCKER / "prometheus" / "alerts_test.yml"
    done = subprocess.run([tool("promtool"), "test", "rules", tests], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire() -> None:
    tests = yaml.safe_load((DOCKER / "prometheus" / "alerts_test.yml").read_text())["tests"]
    fired = {
        check["alertname"] for test in tests for check in test["alert_rule_test"] if check.get("exp_alerts")
    }
    assert fired == ALERTS.keys()


def test_every_alert_has_its_runbook() -> None:
    text = (PROJECT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^#+ (Abinet\w+)$", text) == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/deployment.md#{name.lower()}"


def test_every_graph_of_the_dashboard_shows_something(prometheus: Prometheus) -> None:
    blank = [name for name, expression in dashboard_expressions().items() if not prometheus.query(expression)]
    assert blank == []


def test_no_alert_fires_on_a_healthy_service(prometheus: Prometheus) -> None:
    firing = [name for name, rule in ALERTS.items() if prometheus.query(rule["expr"])]
    assert firing == []


def test_dashboard_and_alerts_name_only_metrics_that_there_are(snapshots: list[str]) -> None:
    exist = {
        sample.name for family in text_string_to_metric_families(snapshots[1]) for sample in family.samples
    }
    expressions = [*dashboard_expressions().values(), *(rule["expr"] for rule in ALERTS.values())]
    named = {name for text in expressions for name in re.findall(r"\b(?:abinet|process)_\w+", text)}
    assert len(named) > 10
    assert named <= exist


def test_the_dashboard_is_where_grafana_looks_for_it() -> None:
    provider = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/abinet.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    mounts = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{folder}:ro" in mounts
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
