"""`abinet serve`: the bundle, its engine worker and the HTTP server, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
import time
from types import FrameType

import uvicorn

from service.app import create_app
from service.bundled import bundled_model
from service.engines.bundle import Bundle
from service.engines.engine import ENGINES, KINDS, EngineOptions
from service.engines.process import EngineError
from service.reader import Reader
from service.settings import Settings

log = logging.getLogger("abinet")


def configure(parser: argparse.ArgumentParser) -> None:
    default = Settings()
    engine = default.engine
    parser.add_argument("--bundle", help="folder of the bundle (default: the bundled model)")
    parser.add_argument(
        "--engine", choices=ENGINES, default=engine.engine, help="what runs the graphs (default: %(default)s)"
    )
    parser.add_argument(
        "--graph",
        choices=KINDS,
        default=engine.graph,
        help="vision and refinements one by one, or all in one call (default: %(default)s)",
    )
    parser.add_argument(
        "--worker-python", default=default.worker_python, help="interpreter of the engine worker"
    )
    parser.add_argument("--device", default=engine.device, help="cpu, or ascend:N (default: %(default)s)")
    parser.add_argument(
        "--precision-mode", default=engine.precision_mode, help="of Lite on Ascend (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=engine.threads,
        help="CPU threads of Lite; MindSpore takes every core that it may use (default: %(default)s)",
    )
    parser.add_argument(
        "--iterations", type=int, help="refinements of a request that asks for none in particular"
    )
    parser.add_argument("--host", default=default.host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=default.port, help="0 takes a free one (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(format="abinet: %(message)s", level=logging.INFO, stream=sys.stderr)
    started = time.perf_counter()
    settings = _settings(arguments)
    # The port first: a mistake there must not wait for the model.
    with _listen(settings.host, settings.port) as listener:
        folder = settings.bundle or bundled_model(settings.worker_python)
        reader = Reader(Bundle(str(folder)), settings)
        asyncio.run(_serve(reader, listener, started))
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    device, _, number = arguments.device.partition(":")
    if device not in ("cpu", "ascend") or (number and not number.isdecimal()):
        raise ValueError(f"--device {arguments.device}: neither cpu nor ascend:N")
    if arguments.threads < 1:
        raise ValueError(f"--threads {arguments.threads}: at least 1")
    engine = EngineOptions(
        engine=arguments.engine,
        graph=arguments.graph,
        threads=arguments.threads,
        device=device,
        device_id=int(number or 0),
        precision_mode=arguments.precision_mode,
    )
    names = ("bundle", "worker_python", "host", "port", "iterations")
    return Settings(engine=engine, **{name: getattr(arguments, name) for name in names})


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot listen on {host}:{port}: {error}; choose another --port") from error
    # Connections inherit this, which asyncio sets only on sockets that name their protocol: not on this one.
    # Without it an answer's body waits 40 ms for the client to acknowledge its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """Uvicorn, but a signal means draining and then an exit code of 0."""

    def __init__(self, config: uvicorn.Config, reader: Reader) -> None:
        super().__init__(config)
        self._reader = reader

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        log.info("finishing what is in flight, then stopping")
        self._reader.drain()
        self.force_exit = self.should_exit  # the second signal does not wait
        self.should_exit = True


async def _serve(reader: Reader, listener: socket.socket, started: float) -> None:
    config = uvicorn.Config(
        create_app(reader),
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(reader.settings.drain_s),
    )
    server = _Server(config, reader)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    starting = asyncio.create_task(_start(reader, server, started))
    await server.serve(sockets=[listener])
    asked_to_stop = reader.state == "draining"
    await reader.stop()
    (failure,) = await asyncio.gather(starting, return_exceptions=True)
    if failure is not None and not asked_to_stop:
        raise failure


async def _start(reader: Reader, server: uvicorn.Server, started: float) -> None:
    try:
        await reader.start()
    except EngineError as error:
        raise ValueError(f"{reader.bundle.folder}: {error}") from error
    finally:
        server.should_exit = server.should_exit or reader.state == "starting"
    model = reader.info
    log.info("%s %s is ready after %.1f s", model.name, model.version, time.perf_counter() - started)
