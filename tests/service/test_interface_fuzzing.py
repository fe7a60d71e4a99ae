"""The interface against its description: no request is a fault of the service, every answer is described."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.empty_bundle import empty_bundle
from tests.support.hostile_interface import ADMIN, fuzz
from tests.support.tiny_service import ServiceProcess, service

pytest.importorskip("schemathesis", reason="Schemathesis asks for Python 3.11")
pytestmark = pytest.mark.slow


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("bundle")
    options = ("--bundle", empty_bundle(folder).folder, "--bundles", str(folder))
    engine = ("--engine", "simulated", "--simulated-ms", "0")
    with service(*options, *engine, environment={"ABINET_ADMIN_KEYS": ADMIN}) as running:
        yield running


def test_generated_requests_have_the_answers_that_the_description_promises(running: ServiceProcess) -> None:
    budget = ("--max-examples", "5", "--seed", "1", "--phases", "examples,coverage,fuzzing")
    count, _ = fuzz(running.client.base_url, *budget)
    assert count >= 200
    assert "Traceback" not in "".join(running.lines)
