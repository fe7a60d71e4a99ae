"""Keys that clients send with a request."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from service.errors import ProblemType, ServiceError


class KeyRing:
    """Keys, one of which a request must have."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._keys = [key.get_secret_value().encode() for key in keys]

    def check(self, scope: Scope, kind: str = "a key") -> None:
        """Raises ServiceError if the request has none of these.

        The comparison takes equally long for every wrong key, so its time gives nothing away.
        """
        key = _sent(scope)
        if not any([hmac.compare_digest(key, known) for known in self._keys]):
            raise ServiceError(
                ProblemType.UNAUTHORISED, f"Send {kind} as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
            )


def _sent(scope: Scope) -> bytes:
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return key.encode("latin-1")
