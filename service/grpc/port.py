"""The port of gRPC, set aside before the model is loaded; each front listens on it for itself."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import socket
from collections.abc import Iterator

from service.settings.model import Settings

log = logging.getLogger("abinet")


@contextlib.contextmanager
def reserved_port(settings: Settings) -> Iterator[int | None]:
    """The port, which nobody else can have meanwhile, or None if there is no gRPC.

    Raises ValueError if it cannot be had, ModuleNotFoundError without the extra `grpc`.
    """
    if settings.grpc_port is None:
        yield None
        return
    if importlib.util.find_spec("grpc_health") is None:
        raise ModuleNotFoundError("the extra grpc is not installed", name="grpc")
    with _bound(settings.host, settings.grpc_port) as reserved:
        port = reserved.getsockname()[1]
        log.info("gRPC at %s", target(settings.host, port))
        yield port


def target(host: str, port: int) -> str:
    """As gRPC writes an address."""
    host = host.strip("[]")  # as in a URL
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(host: str, port: int) -> socket.socket:
    """Bound, but it does not listen, so that no connection ever comes to it."""
    host = host.strip("[]")
    reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
    except (OSError, UnicodeError) as error:
        reserved.close()
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"cannot listen on {target(host, port)}: {reason}; choose another --grpc-port"
        ) from error
    # Only now: another service that shares its port in this way must not be joined unawares.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reserved
