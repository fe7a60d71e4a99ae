"""A front process of several: HTTP and images. Workers and connections come from its manager.

    python -m service.front_process DESCRIPTOR

The descriptor is a socket on which the manager says what to serve and then hands over connections. When it
is closed, whatever became of the manager, the front finishes what is in flight and ends.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from functools import partial
from typing import Any

import uvloop

from service.engines.bundle import Bundle
from service.engines.protocol import Connection, ConnectionClosedError
from service.fronts import Fronts
from service.http_server import HttpServer, settle_memory, share_interpreter
from service.observer import Observer
from service.reader import Reader
from service.remote_engine import RemoteEngine
from service.request_log import configure_logging
from service.settings import Settings


async def serve(manager: Connection, told: dict[str, Any]) -> None:
    """Serves connections as they are handed over, until the manager is gone or a signal comes."""
    bundle, settings, observer = Bundle(told["bundle"]), Settings(**told["settings"]), Observer()
    engines = [
        RemoteEngine(path, bundle.call_bytes(), partial(observer.worker_restarted, device))
        for device, path in zip(settings.devices, told["engines"], strict=True)
    ]
    reader, fronts = Reader(bundle, settings, observer, engines), Fronts(observer, told["others"])
    server = HttpServer(reader, fronts=fronts)
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def take() -> None:
        try:
            _, descriptor = manager.receive_with_file(0.0)
        except BlockingIOError:
            return
        except (ConnectionClosedError, OSError):
            loop.remove_reader(manager.fileno())
            server.drain()
            return
        tasks.add(task := asyncio.create_task(server.take(socket.socket(fileno=descriptor))))
        task.add_done_callback(tasks.discard)

    loop.add_reader(manager.fileno(), take)
    async with fronts.telling(told["own"]):
        starting = asyncio.create_task(_start(reader, manager))
        await server.serve(sockets=[])
        starting.cancel()
        await reader.stop()


async def _start(reader: Reader, manager: Connection) -> None:
    await reader.start()
    settle_memory()
    manager.send({"ready": True})


def main() -> int:
    manager = Connection(socket.socket(fileno=int(sys.argv[1])))
    told = manager.receive()
    configure_logging(Settings(**told["settings"]))
    share_interpreter()
    uvloop.run(serve(manager, told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
