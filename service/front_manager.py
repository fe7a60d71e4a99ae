"""Several front processes on one address: this one keeps them and the engine workers alive, and no more.

It accepts connections and hands them to the fronts in turn: left to the kernel, one front might get most of
them. Every front calls every engine worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from service.engines.bundle import Bundle
from service.engines.line import EngineError
from service.engines.process import EngineProcess
from service.engines.protocol import Connection, ConnectionClosedError, listening_at, socket_pair
from service.hangup import Hangup
from service.listener import address_of
from service.model_change import refused_with_fronts
from service.settings import Settings
from service.supervisor import Supervisor

log = logging.getLogger("abinet")

_LONGEST_PAUSE_S = 10.0
_LONG_LIFE_S = 60.0
_AGAIN_S = 0.05
_ATTEMPTS = 40
"""How often a connection is offered to every front, with pauses in between."""
_LAST_S = 5.0
"""What a front may take beyond its own time to finish."""


async def serve_with_fronts(
    bundle: Bundle, settings: Settings, listener: socket.socket, started: float
) -> None:
    """Serves until SIGTERM or Ctrl-C. Raises ValueError where a worker cannot start."""
    with tempfile.TemporaryDirectory(prefix="abinet-") as folder:
        engines = [f"{folder}/engine-{index}" for index in range(len(settings.devices))]
        supervisors = [
            Supervisor(
                partial(EngineProcess, bundle, options, settings.worker_python, listening_at(path)),
                lambda: None,
            )
            for path, options in zip(engines, settings.engine_options(), strict=True)
        ]
        fronts = [Front(folder, number, bundle, settings, engines) for number in range(settings.fronts)]
        stopping = _stop_at_signals(fronts)
        serving = [asyncio.create_task(front.keep()) for front in fronts]
        serving.append(asyncio.create_task(_hand_over(listener, fronts)))
        log.info("listening on %s with %d fronts", address_of(listener), len(fronts))
        starting = asyncio.create_task(_start(bundle, supervisors, fronts, started))
        stop = asyncio.create_task(stopping.wait())
        async with Hangup(settings.bundle, _no_change, stopping.set):
            await asyncio.wait([starting, stop], return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and starting.exception() is None:
                await stop
        log.info("finishing what is in flight, then stopping")
        for task in serving:
            task.cancel()
        listener.close()
        await asyncio.gather(*(front.end(settings.drain_s + _LAST_S) for front in fronts))
        await asyncio.gather(*(supervisor.close() for supervisor in supervisors))
        (failure,) = await asyncio.gather(starting, return_exceptions=True)
        if failure is not None and not stopping.is_set():
            raise failure


async def _no_change(_: Path) -> None:
    raise refused_with_fronts()


def _stop_at_signals(fronts: Sequence[Front]) -> asyncio.Event:
    """Set by the first signal; a second one does not wait for what is in flight."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            for front in fronts:
                front.kill()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


class Front:
    """A front process, and every one that takes its place."""

    def __init__(
        self, folder: str, number: int, bundle: Bundle, settings: Settings, engines: Sequence[str]
    ) -> None:
        sockets = [f"{folder}/front-{index}" for index in range(settings.fronts)]
        self._number = number
        self._process: asyncio.subprocess.Process | None = None
        self._connection: Connection | None = None
        self.ready = asyncio.Event()
        self._tell = {
            "bundle": bundle.folder,
            "settings": settings.of_front(),
            "engines": list(engines),
            "own": sockets[number],
            "others": sockets[:number] + sockets[number + 1 :],
        }

    async def keep(self) -> None:
        """Starts the process, and another one whenever it has died."""
        deaths = 0
        while True:
            born = time.monotonic()
            await self._start()
            assert self._process is not None
            code = await self._process.wait()
            self._hang_up()
            deaths = deaths + 1 if time.monotonic() - born < _LONG_LIFE_S else 0
            log.warning("front %d has died (%d), another is started", self._process.pid, code)
            await asyncio.sleep(min(0.1 * 2**deaths, _LONGEST_PAUSE_S) if deaths else 0)

    def take(self, connection: socket.socket) -> bool:
        """Hands a connection over; false where there is no process to take it."""
        if self._connection is None:
            return False
        try:
            self._connection.send({}, [connection.fileno()])
        except ConnectionClosedError:
            return False
        return True

    async def end(self, seconds: float) -> None:
        """Lets the process finish what is in flight, for as long as is said."""
        self._hang_up()
        if self._process is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), seconds)
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _start(self) -> None:
        ours, theirs = socket_pair()
        with theirs:
            command = [sys.executable, "-m", "service.front_process", str(theirs.fileno())]
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the manager
            )
        # A front that takes no more connections must not hold up the others.
        ours.setblocking(False)
        self._connection = Connection(ours)
        self._connection.send(self._tell)
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)

    def _hear(self) -> None:
        """The process says one thing: that it is ready. When it is gone, `keep` takes care of it."""
        assert self._connection is not None
        with contextlib.suppress(BlockingIOError):
            try:
                self._connection.receive(0.0)
                self.ready.set()
            except ConnectionClosedError:
                self._hang_up()

    def _hang_up(self) -> None:
        self.ready.clear()
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
            self._connection = None


async def _hand_over(listener: socket.socket, fronts: Sequence[Front]) -> None:
    """Accepts connections, and gives each to the next front that is there."""
    listener.setblocking(False)
    loop, turn = asyncio.get_running_loop(), 0
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as error:  # no descriptor left, or a client that was gone at once
            log.warning("cannot accept a connection: %s", error)
            await asyncio.sleep(_AGAIN_S)
            continue
        with connection:
            for _ in range(_ATTEMPTS):
                turn += 1
                if any(front.take(connection) for front in _in_turn(fronts, turn)):
                    break
                await asyncio.sleep(_AGAIN_S)


def _in_turn(fronts: Sequence[Front], turn: int) -> list[Front]:
    """From one front on; those that are not ready come last, but even they can say that they are not."""
    first = turn % len(fronts)
    return sorted([*fronts[first:], *fronts[:first]], key=lambda front: not front.ready.is_set())


async def _start(
    bundle: Bundle, supervisors: Sequence[Supervisor], fronts: Sequence[Front], started: float
) -> None:
    try:
        await asyncio.gather(*(supervisor.start() for supervisor in supervisors))
    except EngineError as error:
        raise ValueError(f"{bundle.folder}: {error}") from error
    await asyncio.gather(*(front.ready.wait() for front in fronts))
    log.info("%s %s is ready after %.1f s", bundle.name, bundle.version, time.perf_counter() - started)
