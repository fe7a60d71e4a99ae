"""`abinet serve`: the bundle, its engine worker and the HTTP server, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time

import uvloop

from service.bundled import bundled_model
from service.engines.bundle import Bundle
from service.engines.line import EngineError
from service.front_manager import serve_with_fronts
from service.hangup import Hangup
from service.http_server import HttpServer, settle_memory, share_interpreter
from service.listener import address_of, listening
from service.model_change import ModelChange
from service.observer import Observer
from service.reader import Reader
from service.request_log import configure_logging
from service.settings_sources import add_flags, as_toml, read_settings

log = logging.getLogger("abinet")


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and where each comes from, and stop"
    )
    parser.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="stop when the standard input ends, and so with the program that holds its other end",
    )


def run(arguments: argparse.Namespace) -> int:
    started = time.perf_counter()
    effective = read_settings(arguments)
    if arguments.print_config:
        print(as_toml(effective))
        return 0
    settings = effective.settings
    configure_logging(settings)
    share_interpreter()
    # Until the server takes over; an export that is under way then ends as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if arguments.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    # The address first: a mistake there must not wait for the model.
    with listening(settings) as listener:
        folder = settings.bundle or bundled_model(settings.worker_python)
        # Where a link leads now: a worker that is restarted later must find the same bundle.
        bundle = Bundle(str(folder.resolve()))
        if settings.fronts > 1:
            uvloop.run(serve_with_fronts(bundle, settings, listener, started))
        else:
            uvloop.run(_serve(Reader(bundle, settings, Observer()), listener, started))
    return 0


def _stop_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(reader: Reader, listener: socket.socket, started: float) -> None:
    change = ModelChange(reader)
    server = HttpServer(reader, change)
    log.info("listening on %s", address_of(listener))
    starting = asyncio.create_task(_start(reader, server, started))
    async with Hangup(reader.settings.bundle, change.load, server.drain):
        await server.serve(sockets=[listener])
    asked_to_stop = reader.state == "draining"
    await reader.stop()
    (failure,) = await asyncio.gather(starting, return_exceptions=True)
    if failure is not None and not asked_to_stop:
        raise failure


async def _start(reader: Reader, server: HttpServer, started: float) -> None:
    try:
        await reader.start()
    except Exception as error:
        server.should_exit = True
        if isinstance(error, EngineError):
            raise ValueError(f"{reader.main.bundle.folder}: {error}") from error
        raise
    settle_memory()
    model = reader.info
    log.info("%s %s is ready after %.1f s", model.name, model.version, time.perf_counter() - started)
