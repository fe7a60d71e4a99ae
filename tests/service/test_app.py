"""The HTTP side around a reader that fails as it is told."""

from __future__ import annotations

from typing import cast

import httpx
import pytest

from service.crop import Crop
from service.errors import ProblemType, ServiceError
from service.http.app import create_app
from service.observability.observer import Observer
from service.reading.reader import Reader
from service.reading.request import ReadRequest
from service.settings.model import Settings


class FailingReader:
    """Raises an error for every crop."""

    def __init__(self, error: Exception) -> None:
        self.settings = Settings()
        self.observer = Observer()
        self._error = error

    async def read(self, request: ReadRequest) -> list[Crop]:
        raise self._error


async def response_to(error: Exception) -> httpx.Response:
    app = create_app(cast(Reader, FailingReader(error)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post("/v1/read", content=b"crop")


@pytest.mark.parametrize("problem", ProblemType)
async def test_every_failure_has_its_status_and_its_problem_document(problem: ProblemType) -> None:
    response = await response_to(ServiceError(problem, "Details."))
    assert response.status_code == problem.status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": f"urn:abinet:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": "Details.",
        "request_id": response.headers["x-request-id"],
    }


async def test_a_full_queue_says_when_to_come_again() -> None:
    response = await response_to(ServiceError(ProblemType.QUEUE_FULL, "Full.", retry_after=3))
    assert response.headers["retry-after"] == "3"


async def test_a_fault_of_ours_tells_the_client_nothing_of_its_inside() -> None:
    response = await response_to(ZeroDivisionError("secret"))
    assert (response.status_code, response.json()["type"]) == (500, "urn:abinet:problem:fault")
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "secret" not in response.text
