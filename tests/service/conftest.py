"""The service that most tests of the service ask."""

import pytest

from tests.support.tiny_service import ServiceProcess, shared_service


@pytest.fixture(scope="session")
def running() -> ServiceProcess:
    """Reads with the tiny network, and is shared with every test that leaves it as it was."""
    return shared_service()
