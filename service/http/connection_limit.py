"""How many connections a front may have open. The manager asks too, and needs no HTTP server for that."""

from __future__ import annotations

import resource
import sys

from service.settings.model import Settings

_OTHER_FILES = 100


def most_connections(settings: Settings) -> int:
    """How many connections a front may have, and as many of gRPC: the setting, if the system allows it."""
    files = open_files() // (1 if settings.grpc_port is None else 2)
    return min(settings.max_connections, files - min(_OTHER_FILES, files // 2))


def open_files() -> int:
    """Raises the limit of open files as far as the system allows, and returns it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return sys.maxsize if most == resource.RLIM_INFINITY else most
