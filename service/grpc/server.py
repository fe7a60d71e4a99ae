"""The gRPC server of a front, on the front's own event loop."""

from __future__ import annotations

from importlib.metadata import version

import grpc

from service.grpc.port import target
from service.grpc.service import handlers
from service.http.body import BodyRoom
from service.http.connection_limit import most_connections
from service.http.limits import HEAD_S
from service.reading.reader import Reader


async def serve_grpc(reader: Reader, port: int, room: BodyRoom) -> None:
    """Serves a reader until it drains, and then what is in flight.

    The kernel shares the connections out among the fronts, which all listen on the same port: gRPC takes none
    that was accepted elsewhere.
    """
    settings = reader.settings
    most = most_connections(settings)
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            # Also what a packed message unpacks to.
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_allowed_incoming_connections", most),
            # Ends what is no client, and connections whose client is gone.
            ("grpc.server_handshake_timeout_ms", int(1e3 * HEAD_S)),
            ("grpc.keepalive_time_ms", int(1e3 * settings.keep_alive_s)),
            ("grpc.max_connection_idle_ms", int(1e3 * settings.keep_alive_s)),
        ],
        maximum_concurrent_rpcs=most,
    )
    server.add_generic_rpc_handlers(handlers(reader, version("abinet-ascend"), room))
    server.add_insecure_port(target(settings.host, port))
    await server.start()
    try:
        await reader.until_draining()
    finally:
        await server.stop(settings.drain_s)
