"""The demo page at `/`, with its style, scripts and sample crops, and the description at `/docs`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

_SERVICE = Path(__file__).resolve().parents[2]
_WEB = _SERVICE / "web"
_SAMPLES = _SERVICE.parent / "models" / "zoo" / "samples"
_SWAGGER = {
    f"/docs/{name}": Path(str(files("fastapi_offline"))) / "static" / name
    for name in ("swagger-ui.css", "swagger-ui-bundle.js")
}

PAGE_PATHS = frozenset(
    [
        *("/", "/favicon.ico", "/docs", *_SWAGGER),
        *(f"/web/{file.name}" for file in _WEB.iterdir() if file.is_file()),
        *(f"/web/samples/{file.name}" for file in _SAMPLES.iterdir()),
    ]
)
"""Paths of the pages. They need no key, but the page's requests to the service do."""

_HEADERS = {
    # Browsers ask each time and get 304, so that a page never runs with the scripts of another release.
    "Cache-Control": "no-cache",
    # Nothing from other hosts, and no script or style in the markup, whatever the name of a file or a text
    # is.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _PageFiles(StaticFiles):
    """A folder whose files have the page's headers."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(_HEADERS)
        return response


def add_page(app: Starlette) -> None:
    """Serves the pages and their files."""

    def file_at(path: str, file: Path) -> None:
        async def answer(_: object) -> Response:
            return FileResponse(file, headers=_HEADERS)

        app.add_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)

    file_at("/", _WEB / "index.html")
    file_at("/favicon.ico", _WEB / "icon.svg")
    file_at("/docs", _WEB / "docs.html")
    for path, file in _SWAGGER.items():
        file_at(path, file)
    app.mount("/web/samples", _PageFiles(directory=_SAMPLES))
    app.mount("/web", _PageFiles(directory=_WEB))
