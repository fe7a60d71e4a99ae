"""`POST /v1/model/load`, `/v1/model/promote` and `/v1/model/rollback`, for admins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.errors import ProblemType, ServiceError
from service.http.auth import KeyRing
from service.http.body import read_body
from service.http.json_body import json_object, validated
from service.http.lean import Endpoint, JsonResponse, LeanRoute
from service.http.problems import documented
from service.http.schemas import LoadRequest
from service.reading.model_change import Change, bundle_in
from service.reading.reader import Reader
from service.types import ModelInfo

ADMIN_PATHS = frozenset({"/v1/model/load", "/v1/model/promote", "/v1/model/rollback"})
"""Paths that ask for an admin key instead of an API key."""

ADMIN_SCHEMES = {
    "adminBearer": {"type": "http", "scheme": "bearer"},
    "adminKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_LONGEST_BODY = 1 << 16
_LOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/LoadRequest"}}},
    }
}
_PROBLEMS = (
    ProblemType.UNAUTHORISED,
    ProblemType.ADMIN_OFF,
    ProblemType.MODEL_CONFLICT,
    ProblemType.NOT_READY,
    ProblemType.FAULT,
)
_OF_LOADING = (
    *_PROBLEMS,
    ProblemType.NO_SUCH_MODEL,
    ProblemType.BAD_BUNDLE,
    ProblemType.INVALID_REQUEST,
    ProblemType.BODY_TOO_LARGE,
)


def model_change_router(reader: Reader, change: Change) -> APIRouter:
    router = APIRouter(prefix="/v1/model", tags=["model"], route_class=LeanRoute)
    settings = reader.settings
    admins = KeyRing(settings.admin_keys)

    def check_admin(request: Request) -> None:
        if not settings.admin_keys:
            raise _off("Models cannot be changed over HTTP: no admin_keys (or admin_keys_file) are set.")
        admins.check(request.scope, "an admin key")

    def post(path: str, *problems: ProblemType, **extra: Any) -> Callable[[Endpoint], Endpoint]:
        security: list[dict[str, list[str]]] = [{name: []} for name in ADMIN_SCHEMES]
        return router.post(
            path,
            response_model=ModelInfo,
            responses=documented(*problems),
            openapi_extra={"security": security, **extra},
        )

    @post("/load", *_OF_LOADING, **_LOAD_BODY)
    async def load(request: Request) -> Response:
        """Serves another bundle, once its workers have loaded it, run every graph and read a crop.

        With `canary_percent` it reads that share of the requests beside the present one; if it is the canary
        already, its share changes. The answer comes when all is done. A bundle that fails changes nothing.
        """
        check_admin(request)
        if settings.bundles is None:
            raise _off("No bundle can be loaded over HTTP: the folder of the bundles is not set (bundles).")
        asked = validated(LoadRequest, json_object(await read_body(request, _LONGEST_BODY), 0), "body")
        await change.load(bundle_in(settings.bundles, asked.bundle), asked.canary_percent)
        return _info()

    @post("/promote", *_PROBLEMS)
    async def promote(request: Request) -> Response:
        """The canary replaces the main model, which ends after its last answer."""
        check_admin(request)
        await change.promote()
        return _info()

    @post("/rollback", *_PROBLEMS)
    async def rollback(request: Request) -> Response:
        """The canary gets no more requests and ends after its last answer."""
        check_admin(request)
        await change.roll_back()
        return _info()

    def _info() -> Response:
        return JsonResponse(reader.info.model_dump(mode="json"))

    return router


def _off(detail: str) -> ServiceError:
    return ServiceError(ProblemType.ADMIN_OFF, detail, crops=0)
