"""A client that openapi-python-client makes of the interface's description, against a running service."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.tiny_service import ServiceProcess, crop, encoded

pytest.importorskip("openapi_python_client")  # of Python 3.11 and later
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def generated(running: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(running.client.get("/openapi.json").text)
    (folder / "config.yml").write_text("post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    places = ["--path", "openapi.json", "--output-path", "generated_abinet", "--config", "config.yml"]
    made = subprocess.run([*command, *places], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "warning" not in made.stdout.lower()
    sys.path.insert(0, str(folder))
    yield importlib.import_module("generated_abinet")
    sys.path.remove(str(folder))


def ask(generated: Any, running: ServiceProcess, body: bytes) -> Any:
    route = importlib.import_module("generated_abinet.api.read.read_v1_read_post")
    file = importlib.import_module("generated_abinet.types").File(payload=io.BytesIO(body))
    with generated.Client(base_url=str(running.client.base_url), timeout=60) as client:
        return route.sync_detailed(client=client, body=file, iterations=1)


def test_a_generated_client_reads_a_crop(generated: Any, running: ServiceProcess) -> None:
    parsed = ask(generated, running, encoded(crop())).parsed
    expected = running.read(crop(), iterations=1).json()
    assert (parsed.text, parsed.stopped_at) == (expected["text"], 1)
    assert parsed.iterations[1].fused.text == expected["text"]


def test_a_generated_client_parses_the_problem_of_a_refusal(generated: Any, running: ServiceProcess) -> None:
    answer = ask(generated, running, b"no image")
    assert (answer.status_code, answer.parsed.status) == (415, 415)
    assert answer.parsed.type_.endswith(":not-an-image")
    assert answer.parsed.detail.startswith("The bytes must be")
