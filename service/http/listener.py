"""Where the service listens: a TCP port, of one or both families of addresses, or a Unix socket."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.settings.model import Settings

_BACKLOG = 1024


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[list[socket.socket]]:
    """Sockets that listen: one, or two for `localhost`. The file of a Unix socket is removed afterwards.

    Raises ValueError if the service cannot listen there.
    """
    if settings.uds is None:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(one) for one in _tcp_sockets(settings.host, settings.port)]
        return
    with _unix_socket(settings.uds) as listener:
        try:
            yield [listener]
        finally:
            settings.uds.unlink(missing_ok=True)


def _tcp_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets at both addresses of `localhost`, because clients try either first; one for any other host."""
    first = _tcp_socket(host, port)
    if host != "localhost" or not socket.has_ipv6:
        return [first]
    try:
        return [first, _tcp_socket("::1", first.getsockname()[1])]
    except ValueError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            first.close()
            raise
        return [first]  # a machine without IPv6


def _tcp_socket(host: str, port: int) -> socket.socket:
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host  # as in a URL
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    is_any = family == socket.AF_INET6 and host.strip("0:") == ""  # `::`, which stands for IPv4 as well
    try:
        listener = socket.create_server(
            (host, port),
            family=family,
            backlog=_BACKLOG,
            dualstack_ipv6=is_any and socket.has_dualstack_ipv6(),
        )
    except (OSError, UnicodeError) as error:  # the latter for text that cannot be a host's name
        code = error.errno if isinstance(error, OSError) else None
        is_host = code is None or code < 0 or code == errno.EADDRNOTAVAIL  # codes of getaddrinfo are negative
        reason, remedy = str(error).partition(" (while")[0], "--host" if is_host else "--port"
        raise ValueError(f"cannot listen on {host}:{port}: {reason}; choose another {remedy}") from error
    # Without this option, which connections inherit, an answer's body waits 40 ms until the client has
    # acknowledged its headers. asyncio sets it only on sockets that name their protocol, which this one does
    # not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _unix_socket(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket() and listener.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()  # left behind by a service that was killed
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ValueError(f"cannot listen on {path}: {error}; choose another --uds") from error
    return listener


def address_of(listeners: Sequence[socket.socket]) -> str:
    """For people: http://127.0.0.1:8000, or unix:/path."""
    listener, *others = listeners
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    if others:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
