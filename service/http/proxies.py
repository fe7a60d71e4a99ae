"""What a reverse proxy says about the address that clients see: its prefix and its scheme."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from service.settings.model import ANY_PROXY, is_root_path

_SCHEME = re.compile(rb"https?", re.IGNORECASE)


class ProxyMiddleware:
    """Puts prefix and scheme into a request's scope, and takes the prefix off its path if it is there.

    A proxy may therefore pass the prefix on or cut it off. `X-Forwarded-Prefix` and `X-Forwarded-Proto` count
    if they come from one of the `trusted` networks; `root_path` is the prefix of requests without these
    headers.
    """

    def __init__(self, app: ASGIApp, root_path: str, trusted: Sequence[str]) -> None:
        self._app = app
        self._root_path = root_path
        self._trusts_all = ANY_PROXY in trusted
        self._networks = [ip_network(one) for one in trusted if one != ANY_PROXY]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = self._root_path
            if self._is_trusted(scope):
                headers = dict(scope["headers"])
                sent = headers.get(b"x-forwarded-prefix", b"").decode("latin-1").rstrip("/")
                prefix = sent if is_root_path(sent) else prefix
                scheme = headers.get(b"x-forwarded-proto", b"")
                if _SCHEME.fullmatch(scheme):
                    scope["scheme"] = scheme.decode().lower()
            scope["root_path"] = prefix
            if prefix and (scope["path"] + "/").startswith(prefix + "/"):
                scope["path"] = scope["path"][len(prefix) :] or "/"
        await self._app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        if self._trusts_all or not self._networks:
            return self._trusts_all
        try:
            address = ip_address((scope["client"] or ("",))[0])
        except ValueError:  # of a Unix socket
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
