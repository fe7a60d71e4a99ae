"""How the demo page is served, in process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import httpx
import pytest

from service.http.app import create_app
from service.http.routes.page import PAGE_PATHS
from service.observability.observer import Observer
from service.reading.reader import Reader
from service.settings.model import Settings
from service.types import ModelName

WEB = Path(__file__).resolve().parents[2] / "service" / "web"
OF_PAGES = re.compile(r"(?:from |src=|href=)[\"'](?:\./|web/)([\w./-]+)[\"']")


class IdleReader:
    """Has settings and nothing to read with."""

    state = "starting"

    def __init__(self) -> None:
        self.settings = Settings()
        self.observer = Observer()
        self.model = ModelName(name="tiny", version="1")


async def ask(path: str, method: str = "GET", headers: dict[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(cast(Reader, IdleReader())))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


async def test_the_root_is_the_page() -> None:
    response = await ask("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>abinet" in response.text


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/web/style.css", "text/css; charset=utf-8"),
        ("/web/page.js", "text/javascript; charset=utf-8"),
        ("/favicon.ico", "image/svg+xml"),
        ("/web/samples/telescope.png", "image/png"),
    ],
)
async def test_a_file_has_its_media_type(path: str, media_type: str) -> None:
    response = await ask(path)
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)


def test_every_file_of_the_page_is_served() -> None:
    files = {f"/web/{file.name}" for file in WEB.iterdir() if file.suffix in (".css", ".js", ".svg")}
    assert files <= PAGE_PATHS


@pytest.mark.parametrize("file", sorted(WEB.iterdir()), ids=lambda file: file.name)
def test_a_file_names_only_files_that_are_served(file: Path) -> None:
    named = {f"/web/{name}" for name in OF_PAGES.findall(file.read_text(encoding="utf-8"))}
    assert named <= PAGE_PATHS


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
async def test_nothing_comes_from_elsewhere_and_no_script_from_the_markup(path: str) -> None:
    policy = (await ask(path)).headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_a_browser_that_has_the_file_gets_304() -> None:
    tag = (await ask("/web/page.js")).headers["etag"]
    again = await ask("/web/page.js", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert (await ask("/web/page.js", headers={"If-None-Match": '"other"'})).status_code == 200


async def test_head_is_answered() -> None:
    assert (await ask("/", "HEAD")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/web/", "/web/nothing.js", "/web/%2e%2e/app.py", "/web/samples/..%2f..%2fabinet_small_en.json"]
)
async def test_no_other_file_is_opened(path: str) -> None:
    assert (await ask(path)).status_code == 404


async def test_the_description_of_the_interface_leaves_the_page_out() -> None:
    paths = (await ask("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith(("/web", "/favicon"))]


async def test_the_description_asks_nobody_elsewhere_for_its_scripts() -> None:
    page = (await ask("/docs")).text
    assert "http" not in page
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (await ask(f"/{name}")).status_code == 200
