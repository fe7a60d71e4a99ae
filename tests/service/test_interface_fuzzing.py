"""The interface against its description: no request is a fault of the service, every answer is described."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.hostile_interface import changeable_service, fuzz
from tests.support.tiny_service import ServiceProcess

pytest.importorskip("schemathesis", reason="Schemathesis asks for Python 3.11")
pytestmark = pytest.mark.slow


@pytest.fixture
def running() -> Iterator[ServiceProcess]:
    with changeable_service() as running:
        yield running


def test_generated_requests_have_the_answers_that_the_description_promises(running: ServiceProcess) -> None:
    budget = ("--max-examples", "5", "--seed", "1", "--phases", "examples,coverage,fuzzing")
    count, _ = fuzz(running.client.base_url, *budget)
    assert count >= 200
    assert "Traceback" not in "".join(running.lines)
