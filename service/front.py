"""A front process as its manager sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from service.engines.protocol import Connection, ConnectionClosedError, socket_pair
from service.errors import ServiceError
from service.routes.model_change import Change
from service.settings import Settings

log = logging.getLogger("abinet")

_LONGEST_PAUSE_S = 10.0
_LONG_LIFE_S = 60.0


class Front:
    """A front process, and every one that takes its place."""

    def __init__(self, folder: str, number: int, settings: Settings) -> None:
        sockets = [f"{folder}/front-{index}" for index in range(settings.fronts)]
        self._served: Callable[[], dict[str, Any]] | None = None
        self._change: Change | None = None
        self._changes: set[asyncio.Task[None]] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._connection: Connection | None = None
        self.ready = asyncio.Event()
        self.serves = 0
        """The number of what it was last told to serve, and does."""
        self.uses: set[str] = set()
        """The models, by their keys, that it may still ask."""
        self._tell = {
            "settings": settings.of_front(),
            "own": sockets[number],
            "others": sockets[:number] + sockets[number + 1 :],
        }

    @property
    def is_there(self) -> bool:
        """Whether there is a process to talk to."""
        return self._connection is not None

    async def keep(self, served: Callable[[], dict[str, Any]], change: Change) -> None:
        """Starts the process, and another one whenever it has died.

        It is told what is `served`, and asks for a `change` where it is asked for one.
        """
        self._served, self._change = served, change
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
        return self.tell({"connection": True}, [connection.fileno()])

    def tell(self, message: dict[str, Any], files: Sequence[int] = ()) -> bool:
        """Sends the process a message; false where it cannot be reached."""
        if self._connection is None:
            return False
        try:
            self._connection.send(message, files)
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
        assert self._served is not None
        # Where it is dead already, `keep` starts another.
        self.tell({**self._tell, **self._served()})
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)

    def _hear(self) -> None:
        """The process says what it serves, or asks for a change. When it is gone, `keep` takes care of it."""
        assert self._connection is not None
        try:
            message = self._connection.receive(0.0)
        except BlockingIOError:
            return
        except ConnectionClosedError:
            self._hang_up()
            return
        if "change" in message:
            self._changes.add(task := asyncio.create_task(self._make(message)))
            task.add_done_callback(self._changes.discard)
            return
        self.uses = set(message["uses"])
        self.serves = message["serves"]
        self.ready.set()

    async def _make(self, message: dict[str, Any]) -> None:
        """Makes a change that the process was asked for, and tells it the outcome."""
        answer: dict[str, Any] = {"answer": message["number"]}
        assert self._change is not None
        try:
            if message["change"] == "load":
                await self._change.load(Path(message["folder"]), message["percent"])
            elif message["change"] == "promote":
                await self._change.promote()
            else:
                await self._change.roll_back()
        except ServiceError as error:
            answer.update(problem=error.problem.name, detail=error.detail, retry_after=error.retry_after)
        self.tell(answer)

    def _hang_up(self) -> None:
        self.ready.clear()
        self.uses = set()
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
            self._connection = None
