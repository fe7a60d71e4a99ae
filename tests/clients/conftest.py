"""The service that the tests of the clients ask: its engine is simulated."""

from collections.abc import Iterator

import pytest

from tests.support.tiny_service import ServiceProcess, simulated_service


@pytest.fixture(scope="module")
def simulated() -> Iterator[ServiceProcess]:
    with simulated_service("--simulated-ms", "0") as running:
        yield running


@pytest.fixture(scope="module")
def url(simulated: ServiceProcess) -> str:
    return str(simulated.client.base_url)
