"""The demo page at `/`, with its style, scripts and sample crops."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_SERVICE = Path(__file__).resolve().parents[2]
_WEB = _SERVICE / "web"
_SAMPLES = _SERVICE.parent / "models" / "zoo" / "samples"

_HTML, _CSS, _SCRIPT, _ICON, _PNG = (
    "text/html; charset=utf-8",
    "text/css; charset=utf-8",
    "text/javascript; charset=utf-8",
    "image/svg+xml",
    "image/png",
)
_SCRIPTS = (
    "card",
    "copy",
    "crops",
    "dom",
    "intake",
    "keys",
    "latency",
    "notice",
    "page",
    "reading",
    "samples",
    "service",
    "stages",
    "words",
)
_SAMPLE_NAMES = ("80th", "cleans", "corkys", "glowing", "harmony", "overrun", "relocation", "telescope")
_FILES = {
    "/": (_WEB / "index.html", _HTML),
    "/favicon.ico": (_WEB / "icon.svg", _ICON),
    "/web/icon.svg": (_WEB / "icon.svg", _ICON),
    "/web/style.css": (_WEB / "style.css", _CSS),
    **{f"/web/{name}.js": (_WEB / f"{name}.js", _SCRIPT) for name in _SCRIPTS},
    **{f"/web/samples/{name}.png": (_SAMPLES / f"{name}.png", _PNG) for name in _SAMPLE_NAMES},
}
PAGE_PATHS = frozenset(_FILES)
"""All that belongs to the page: it needs no key, what it asks of the service does."""

# Nothing from elsewhere, and no script or style in the markup, whatever a file is called or a text says.
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class _File(NamedTuple):
    content: bytes
    headers: dict[str, str]


def page_router() -> APIRouter:
    """Serves what it has read by then: no path from a client is ever opened."""
    router = APIRouter(include_in_schema=False)
    files = {path: _read(file, media_type) for path, (file, media_type) in _FILES.items()}

    @router.api_route("/", methods=["GET", "HEAD"])
    @router.api_route("/favicon.ico", methods=["GET", "HEAD"])
    @router.api_route("/web/{name:path}", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        file = files.get(request.scope["path"])
        if file is None:
            raise HTTPException(404)
        if file.headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=file.headers)
        return Response(file.content, headers=file.headers)

    return router


def _read(file: Path, media_type: str) -> _File:
    content = file.read_bytes()
    headers = {
        "Content-Type": media_type,
        # Asked for anew each time, answered with 304: a page never runs with the scripts of another release.
        "Cache-Control": "no-cache",
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"',
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return _File(content, headers)
