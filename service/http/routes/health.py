"""`GET /v1/model` and the health probes."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.http.schemas import Health
from service.reading.reader import Reader
from service.types import ModelInfo


def status_router(reader: Reader) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/model", tags=["model"])
    async def model() -> ModelInfo:
        """The bundle being served and what runs it."""
        return reader.info

    @router.get("/health/live", tags=["health"])
    async def live() -> Health:
        """200 as long as the process answers."""
        return Health(status="live")

    @router.get("/health/ready", tags=["health"], responses={503: {"model": Health}})
    async def ready(response: Response) -> Health:
        """200 when an engine has run every graph and is alive, else 503."""
        state = reader.state
        response.status_code = 200 if state == "ready" else 503
        return Health(status=state)

    return router
