"""API keys, in process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from pydantic import SecretStr

from service.http.app import create_app
from service.http.middleware import OPEN_PATHS
from service.observability.observer import Observer
from service.reading.reader import Reader
from service.settings.model import Settings
from tests.support.tiny_service import problem


class StartingReader:
    """Has settings and nothing to read with."""

    state = "starting"

    def __init__(self, *keys: str) -> None:
        self.settings = Settings(api_keys=tuple(map(SecretStr, keys)))
        self.observer = Observer()
        self.main = SimpleNamespace(batch_costs=[])


async def get(
    path: str, headers: dict[str, str] | None = None, keys: tuple[str, ...] = ("old", "new")
) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(cast(Reader, StartingReader(*keys))))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=httpx.Headers(headers, encoding="latin-1"))


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer old"}, {"authorization": "bearer new"}, {"X-API-Key": "new"}]
)
async def test_any_of_the_keys_opens(headers: dict[str, str]) -> None:
    assert (await get("/v2", headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "ol"}, {"Authorization": "Basic old"}, {"Authorization": "old"}, {"X-API-Key": "nëw"}],
)
async def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    response = await get("/v1/model", headers)
    assert problem(response) == (401, "unauthorised")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_path_that_does_not_exist_is_not_told_apart_without_a_key() -> None:
    assert (await get("/v1/nothing")).status_code == 401


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_what_watches_the_service_needs_no_key(path: str) -> None:
    assert (await get(path)).status_code in (200, 503)


async def preflight(origins: tuple[str, ...], origin: str) -> httpx.Response:
    """What a browser asks before a page of another host may send a crop."""
    reader = StartingReader("key")
    reader.settings = Settings(api_keys=(SecretStr("key"),), cors_origins=origins)
    transport = httpx.ASGITransport(create_app(cast(Reader, reader)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        return await client.options(
            "/v1/read", headers={**asked, "Access-Control-Request-Headers": "authorization"}
        )


async def test_pages_of_other_hosts_may_ask_where_a_setting_names_them() -> None:
    allowed = await preflight(("https://shop.example",), "https://shop.example")
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert (
        "access-control-allow-origin"
        not in (await preflight(("https://shop.example",), "https://other.example")).headers
    )
    assert "access-control-allow-origin" not in (await preflight((), "https://shop.example")).headers


async def test_without_keys_none_is_asked_for() -> None:
    assert (await get("/v2", keys=())).status_code == 200


async def test_the_description_says_that_a_key_is_needed() -> None:
    assert "security" in (await get("/openapi.json")).json()
    assert "security" not in (await get("/openapi.json", keys=())).json()
