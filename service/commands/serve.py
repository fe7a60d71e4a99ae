"""`abinet serve`: settings, address and bundle, and then the manager, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time

import uvloop

from service.bundled import bundled_model
from service.engine_choice import chosen
from service.engines.bundle import Bundle
from service.fronts.manager import serve_with_fronts
from service.grpc.port import reserved_port
from service.http.listener import listening
from service.observability.request_log import configure_logging
from service.observability.tracing import tracing_fault
from service.settings.sources import add_flags, as_toml, read_settings

log = logging.getLogger("abinet")


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and where each comes from, and stop"
    )
    parser.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="stop when the standard input ends, that is, with the program that started the service",
    )


def run(arguments: argparse.Namespace) -> int:
    started = time.perf_counter()
    effective = read_settings(arguments)
    if arguments.print_config:
        print(as_toml(effective))
        return 0
    settings = effective.settings
    configure_logging(settings)
    # Until the server takes over, a signal also ends an export that is under way.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if arguments.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    if (fault := tracing_fault(os.environ)) is not None:
        log.warning("%s", fault)
    # The addresses come first, so that a mistake in them does not wait for the model.
    with listening(settings) as listeners, reserved_port(settings) as grpc_port:
        settings = settings.model_copy(update={"grpc_port": grpc_port})
        settings, reason = chosen(settings)
        folder = settings.bundle or bundled_model(settings.worker_python)
        # Follow the link now: a worker that is restarted later must find the same bundle.
        bundle = Bundle(os.path.realpath(folder))
        log.info("the engine is %s: %s", settings.engine, reason)
        uvloop.run(serve_with_fronts(bundle, settings, listeners, started))
    return 0


def _stop_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
