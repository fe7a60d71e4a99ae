"""Addresses of services as people write them and as services log them."""

from __future__ import annotations

from typing import Any

from abinet_client import AbinetError, Client, Retry

UNIX = "unix:"
LOCAL = "http://127.0.0.1:8000"
"""Where `abinet serve` listens by default."""
_GLANCE_S = 0.3


def connect(address: str, **options: Any) -> Client:
    """A client of the service at "http://HOST:PORT" or "unix:PATH"; `options` are those of `Client`.

    If the service asks for an API key, the environment variable ABINET_API_KEY has it.

    Raises:
        ValueError: this is no such address.
    """
    if address.startswith(UNIX):
        return Client("http://localhost", uds=address[len(UNIX) :], **options)
    return Client(address, **options)


def is_served(address: str) -> bool:
    """Whether a service that takes crops answers there at once."""
    try:
        with connect(address, retry=Retry(attempts=1), timeout=_GLANCE_S) as client:
            return client.health().is_ready
    except AbinetError:
        return False
