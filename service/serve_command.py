"""`abinet serve`: the bundle, its engine worker and the HTTP server, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import socket
import sys
import time
from types import FrameType

import uvicorn
import uvloop

from service.app import create_app
from service.bundled import bundled_model
from service.engines.bundle import Bundle
from service.engines.line import EngineError
from service.hangup import Hangup
from service.http_protocol import JoiningProtocol
from service.listener import address_of, listening
from service.model_change import ModelChange
from service.observer import Observer
from service.reader import Reader
from service.request_log import configure_logging
from service.settings_sources import add_flags, as_toml, read_settings

log = logging.getLogger("abinet")

_GARBAGE = 20_000
"""Objects that may pile up before Python looks for cycles among them."""
_SWITCH_S = 2e-4
"""How long a thread that decodes may have to wait for the interpreter; Python's own 5 ms is 50 images."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and where each comes from, and stop"
    )


def run(arguments: argparse.Namespace) -> int:
    started = time.perf_counter()
    effective = read_settings(arguments)
    if arguments.print_config:
        print(as_toml(effective))
        return 0
    settings = effective.settings
    configure_logging(settings)
    sys.setswitchinterval(_SWITCH_S)
    # The address first: a mistake there must not wait for the model.
    with listening(settings) as listener:
        folder = settings.bundle or bundled_model(settings.worker_python)
        # Where a link leads now: a worker that is restarted later must find the same bundle.
        reader = Reader(Bundle(str(folder.resolve())), settings, Observer())
        uvloop.run(_serve(reader, listener, started))
    return 0


class _Server(uvicorn.Server):
    """Uvicorn, but a signal means draining and then an exit code of 0."""

    def __init__(self, config: uvicorn.Config, reader: Reader) -> None:
        super().__init__(config)
        self._reader = reader

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.stop()

    def stop(self) -> None:
        log.info("finishing what is in flight, then stopping")
        self._reader.drain()
        self.force_exit = self.should_exit  # the second signal does not wait
        self.should_exit = True


async def _serve(reader: Reader, listener: socket.socket, started: float) -> None:
    change = ModelChange(reader)
    config = uvicorn.Config(
        create_app(reader, change),
        http=JoiningProtocol,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(reader.settings.drain_s),
    )
    server = _Server(config, reader)
    log.info("listening on %s", address_of(listener))
    starting = asyncio.create_task(_start(reader, server, started))
    async with Hangup(reader.settings.bundle, change, server.stop):
        await server.serve(sockets=[listener])
    asked_to_stop = reader.state == "draining"
    await reader.stop()
    (failure,) = await asyncio.gather(starting, return_exceptions=True)
    if failure is not None and not asked_to_stop:
        raise failure


async def _start(reader: Reader, server: uvicorn.Server, started: float) -> None:
    try:
        await reader.start()
    except Exception as error:
        server.should_exit = True
        if isinstance(error, EngineError):
            raise ValueError(f"{reader.main.bundle.folder}: {error}") from error
        raise
    # What is here now stays: left out of every collection, these objects cost no request any time. Requests
    # leave no cycles behind, so there is little to collect.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 20, 20)
    model = reader.info
    log.info("%s %s is ready after %.1f s", model.name, model.version, time.perf_counter() - started)
