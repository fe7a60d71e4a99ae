"""The process that the user starts. It listens, keeps fronts and engine workers alive, and does nothing else.

It accepts connections and hands them to the fronts in turn, because the kernel might give most of them to one
front. Every front calls every engine worker. If a front dies, the model and the address stay.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Sequence

from service.engines.bundle import Bundle
from service.engines.connection import EngineError
from service.fronts.connections import AcceptedConnections
from service.fronts.handle import Front
from service.fronts.shared_models import SharedChange, SharedReader
from service.fronts.sighup import SighupHandler
from service.http.connection_limit import most_connections
from service.http.listener import address_of
from service.observability.counts import Counts, new_counts
from service.observability.observer import Observer
from service.settings.model import Settings
from service.workers.shared_memory import check_room

log = logging.getLogger("abinet")

_NEWS_S = 0.5
"""How often the manager tells fronts what only it sees."""
_LONGEST_FOLDER = 64
_LAST_S = 5.0
"""How long a front may take beyond its own time to finish."""


async def serve_with_fronts(
    bundle: Bundle, settings: Settings, listeners: Sequence[socket.socket], started: float
) -> None:
    """Serves until SIGTERM or Ctrl-C. Raises ValueError if a worker cannot start."""
    most = most_connections(settings)
    if most < settings.max_connections:
        log.warning("a front can take only %d connections: the limit of open files is low (ulimit -n)", most)
    with tempfile.TemporaryDirectory(prefix="abinet-", dir=_short_folder()) as folder:
        own, *counts = [new_counts() for _ in range(1 + settings.fronts)]
        observer = Observer(counts=Counts(own))
        fronts = [
            # Each front counts in a file of its own, the first that it gets.
            Front(
                folder, number, settings, [*counts[number:], *counts[:number], own], observer.front_restarted
            )
            for number in range(settings.fronts)
        ]
        stopping = _stop_at_signals(fronts)
        models = SharedReader(bundle, settings, observer, folder, fronts)
        change = SharedChange(models)
        connections = AcceptedConnections(fronts)
        serving = [
            asyncio.create_task(front.keep(models.served, change, connections.give_back)) for front in fronts
        ]
        serving += [asyncio.create_task(connections.accept(listener)) for listener in listeners]
        serving.append(asyncio.create_task(_tell_news(models, fronts)))
        log.info("listening on %s", address_of(listeners))
        if settings.fronts > 1:
            log.info("%d fronts answer there", settings.fronts)
        starting = asyncio.create_task(_start(models, fronts, started))
        stop = asyncio.create_task(stopping.wait())
        async with SighupHandler(settings.bundle, change.load, stopping.set):
            await asyncio.wait([starting, stop, *serving], return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and starting.exception() is None:
                await asyncio.wait([stop, *serving], return_when=asyncio.FIRST_COMPLETED)
        log.info("finishing what is in flight, then stopping")
        models.drain()
        for task in serving:
            task.cancel()
        faults = await asyncio.gather(*serving, return_exceptions=True)
        for listener in listeners:
            listener.close()
        await asyncio.gather(*(front.end(settings.drain_s + _LAST_S) for front in fronts))
        await models.stop()
        starting.cancel()
        (failure,) = await asyncio.gather(starting, return_exceptions=True)
        stop.cancel()
    for fault in faults:
        if isinstance(fault, Exception):  # a fault of the service: better to end than to serve half
            raise fault
    if isinstance(failure, Exception) and not stopping.is_set():
        raise failure


def _short_folder() -> str | None:
    """Another folder, if TMPDIR is too long for the path of a socket, which has at most 107 bytes."""
    return "/tmp" if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_FOLDER else None


def _stop_at_signals(fronts: Sequence[Front]) -> asyncio.Event:
    """An event that the first signal sets. A second signal does not wait for requests in flight."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            for front in fronts:
                front.kill()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


async def _tell_news(models: SharedReader, fronts: Sequence[Front]) -> None:
    while True:
        await asyncio.sleep(_NEWS_S)
        for front in fronts:
            front.tell({"news": models.news()})
            # Tell fronts that serve something else again, because they may not have heard it.
            if front.serves < models.changes:
                front.tell(models.served())


async def _start(models: SharedReader, fronts: Sequence[Front], started: float) -> None:
    check_room(models.main.bundle, models.settings)
    try:
        await models.start()
    except EngineError as error:
        raise ValueError(f"{models.main.bundle.folder}: {error}") from error
    await asyncio.gather(*(front.ready.wait() for front in fronts))
    model = models.model
    log.info("%s %s is ready after %.1f s", model.name, model.version, time.perf_counter() - started)
