"""A front process as its manager sees it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from service.engines.process import DEATH_S, ending, module_command
from service.engines.protocol import Connection, ConnectionClosedError, socket_pair
from service.errors import ServiceError
from service.reading.model_change import Change
from service.settings.model import Settings

log = logging.getLogger("abinet")

HEARTBEAT_S = 1.0
"""How often a front says that it is alive."""
_SILENT = 3
"""After this many missed heartbeats, new connections go to other fronts if possible."""
_HUNG = 10
"""After this many missed heartbeats, a front is killed and replaced."""
_NEVER_HEARD = 60
"""The same for a front that has not yet said that it is up."""
_LONGEST_PAUSE_S = 10.0
_AGAIN_S = 0.1
_SPARE_AFTER_S = 2.0
"""How long the first front has served before it gets a spare one."""


class _StartedFront(NamedTuple):
    """A running process, and this end of the socket to it. It waits until it is told what to serve."""

    process: asyncio.subprocess.Process
    ours: socket.socket

    @classmethod
    async def begin(cls, counts: Sequence[int]) -> _StartedFront:
        """Starts it, with its own counts first (see observability.counts). Raises OSError if the system has
        no room.
        """
        ours, theirs = socket_pair()
        # A front that takes no more messages must not hold up the others.
        ours.setblocking(False)
        with theirs:
            files = [theirs.fileno(), *counts]
            command = [*module_command(sys.executable, "service.fronts.process"), *map(str, files)]
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    pass_fds=files,
                    start_new_session=True,  # Ctrl-C is for the manager
                )
            except BaseException:
                ours.close()
                raise
        return cls(process, ours)


class Front:
    """A front process, and every one that takes its place.

    The only front of a service has a spare one, which has already imported everything and waits, because a
    start takes seconds in which nobody would be answered.
    """

    def __init__(
        self,
        folder: str,
        number: int,
        settings: Settings,
        counts: Sequence[int],
        restarted: Callable[[], None],
    ) -> None:
        """The processes count in the first of `counts` and read the others; each calls `restarted`."""
        self._counts, self._restarted = counts, restarted
        sockets = [f"{folder}/front-{index}" for index in range(settings.fronts)]
        self._served: Callable[[], dict[str, Any]] | None = None
        self._change: Change | None = None
        self._changes: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._handed: dict[int, socket.socket] = {}
        """Connections that the process has not confirmed yet."""
        self._returned: Callable[[socket.socket], None] = socket.socket.close
        self._process: asyncio.subprocess.Process | None = None
        self._has_spare = settings.fronts == 1
        self._spare_after_s = _SPARE_AFTER_S
        self._spare: _StartedFront | None = None
        self._connection: Connection | None = None
        self._missed = 0
        self._was_up = False
        self.is_up = False
        """Whether the process has said that it takes connections."""
        self.ready = asyncio.Event()
        self.serves = 0
        """The number of the state that it serves (see SharedReader.changes); 0 before it serves anything."""
        self.uses: set[str] = set()
        """Keys of the models that it may still call."""
        self._tell = {
            "settings": settings.of_front(),
            "own": sockets[number],
            "folder": folder,
            "manager": os.getpid(),
            "others": sockets[:number] + sockets[number + 1 :],
        }

    @property
    def is_there(self) -> bool:
        """Whether there is a process to talk to."""
        return self._connection is not None

    @property
    def is_silent(self) -> bool:
        """Whether it has said nothing for some seconds, because it is stopped or hangs."""
        return self._missed > _SILENT

    async def keep(
        self,
        served: Callable[[], dict[str, Any]],
        change: Change,
        returned: Callable[[socket.socket], None],
    ) -> None:
        """Starts the process, and at once another one whenever it has died.

        If it died before it was up, the next one starts after a pause, which doubles. The process is told
        what is `served`, and asks for a `change` if a client wants one. Connections that it did not take are
        `returned`.
        """
        self._served, self._change, self._returned = served, change, returned
        failures = 0
        while True:
            try:
                process = await self._start()
            except OSError as error:
                failures += 1
                log.error("a front cannot be started: %s; it is tried again", error)
                await _pause(failures)
                continue
            beside = [asyncio.create_task(self._watch(process)), asyncio.create_task(self._keep_spare())]
            try:
                code = await process.wait()
            finally:
                for task in beside:
                    task.cancel()
            failures = 0 if self._was_up else failures + 1
            self._hear()  # its last words
            self._hang_up()
            self._restarted()
            log.error("front %d %s; another is started", process.pid, ending(code))
            await _pause(failures)

    def take(self, connection: socket.socket) -> bool:
        """Hands a connection over; false if there is no process to take it.

        The connection is kept here until the process says that it has it, and returned if it does not.
        """
        number = next(self._numbers)
        if not self.is_up or not self.tell({"connection": number}, [connection.fileno()]):
            return False
        self._handed[number] = connection
        return True

    def tell(self, message: dict[str, Any], files: Sequence[int] = ()) -> bool:
        """Sends the process a message; false if it cannot be reached."""
        if self._connection is None:
            return False
        try:
            self._connection.send(message, files)
        except ConnectionClosedError:
            return False
        return True

    async def end(self, seconds: float) -> None:
        """Lets the process finish what is in flight, for so many seconds; one that is not up has nothing."""
        if not self.is_up:
            self.kill()
        self._returned = socket.socket.close  # it still takes what is on the way
        self._hang_up()
        if self._spare is not None:
            self._spare.ours.close()
            self._spare.process.kill()
            await _end_of(self._spare.process, DEATH_S)
        if self._process is not None:
            await _end_of(self._process, seconds)
            self.kill()
            await _end_of(self._process, DEATH_S)

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _start(self) -> asyncio.subprocess.Process:
        process, ours = self._spare or await _StartedFront.begin(self._counts)
        self._process, self._spare = process, None
        self._connection = Connection(ours)
        self._missed, self._was_up, self.serves = 0, False, 0
        assert self._served is not None
        assert process.stdin is not None
        # Not as a message, because thousands of API keys would be too long for one.
        process.stdin.write(json.dumps({**self._tell, **self._served()}).encode())
        process.stdin.close()
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)
        return process

    async def _keep_spare(self) -> None:
        await self.ready.wait()
        # The first time, the cores have other things to do: crops that waited for the start, and compilation.
        pause_s, self._spare_after_s = self._spare_after_s, 0.0
        await asyncio.sleep(pause_s)
        while self._has_spare:
            try:
                self._spare = self._spare or await _StartedFront.begin(self._counts)
            except OSError as error:
                log.warning("no spare front can be started: %s; it is tried again", error)
            else:
                await self._spare.process.wait()
                self._spare.ours.close()
                self._spare = None
            await asyncio.sleep(_LONGEST_PAUSE_S)

    def _hear(self) -> None:
        """Receives what the process has said. If it is gone, `keep` replaces it."""
        while self._connection is not None:
            try:
                self._take_in(self._connection.receive(0.0))
            except BlockingIOError:
                return
            except ConnectionClosedError:
                self._hang_up()

    def _take_in(self, message: dict[str, Any]) -> None:
        """Handles a message: a request for a change, or what the process serves and which connections it has
        taken.
        """
        self._missed = 0
        self.is_up = self._was_up = True
        if "change" in message:
            self._changes.add(task := asyncio.create_task(self._make(message)))
            task.add_done_callback(self._changes.discard)
            return
        for number in message["taken"]:
            self._handed.pop(number).close()
        for number in message["not_taken"]:
            self._returned(self._handed.pop(number))
        if message["serves"]:
            self.uses = set(message["uses"])
            self.serves = message["serves"]
            self.ready.set()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kills a process whose heartbeats stay away, except while this process was itself stopped."""
        while self._missed < (_HUNG if self.is_up else _NEVER_HEARD):
            await asyncio.sleep(HEARTBEAT_S)
            self._missed += 1
        log.error("front %d has said nothing for %d s", process.pid, self._missed * HEARTBEAT_S)
        process.kill()

    async def _make(self, message: dict[str, Any]) -> None:
        """Makes a change that a client asked for, and tells the process the outcome once it listens."""
        asked_by = self._process
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
        while self._process is asked_by and self.is_there and not self.tell(answer):
            await asyncio.sleep(_AGAIN_S)

    def _hang_up(self) -> None:
        self.is_up = False
        self.ready.clear()
        self.uses = set()
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
            self._connection = None
        handed, self._handed = self._handed, {}
        for connection in handed.values():
            self._returned(connection)


async def _end_of(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Waits for the end of the process, but no longer than this."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), seconds)


async def _pause(failures: int) -> None:
    await asyncio.sleep(min(0.1 * 2**failures, _LONGEST_PAUSE_S) if failures else 0)
