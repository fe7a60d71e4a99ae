"""A front process: HTTP and images. Workers and connections come from its manager.

    python -m service.fronts.process DESCRIPTOR COUNTS...

Its standard input says what to serve. COUNTS are descriptors: it counts in the first and reads the others
(see observability.counts). DESCRIPTOR is a socket on which the manager hands over connections and announces
changes. When the socket is closed, for whatever reason, the front finishes what is in flight and ends.
Signals are for the manager.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from service.engines.bundle import Bundle
from service.engines.parent import wake_when_parent_dies
from service.engines.protocol import Connection, ConnectionClosedError
from service.errors import ProblemType, ServiceError
from service.fronts.handle import HEARTBEAT_S
from service.http.server import HttpServer, settle_memory, share_interpreter
from service.observability.all_fronts import Fronts
from service.observability.counts import Counts
from service.observability.observer import Observer
from service.observability.request_log import configure_logging
from service.reading.deployment import Deployment
from service.reading.reader import Reader
from service.settings.model import Settings
from service.workers.attached import RemoteEngine

log = logging.getLogger("abinet")

Message = dict[str, Any]


class FrontProcess:
    """Serves the connections that it gets, with the models that it is told to use."""

    def __init__(self, manager: Connection, counts: Sequence[Counts], told: Message) -> None:
        self._manager = manager
        self._settings = Settings(**told["settings"])
        own, *beside = counts
        self._observer = Observer(counts=own, beside=beside)
        self._told = told
        self._failing: set[str] = set()
        bundle = Bundle(told["main"]["bundle"])
        self._reader = Reader(bundle, self._settings, self._observer, self._engines(told["main"], bundle))
        self._deployments: dict[str, Deployment] = {_key(told["main"]): self._reader.main}
        self._change = RemoteChange(manager)
        self._newest = 0
        self._following: asyncio.Task[None] | None = None
        self._serves = 0
        self._taken: list[int] = []
        self._not_taken: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serves until the manager is gone or a signal comes."""
        fronts = Fronts(self._observer, self._told["others"])
        self._server = HttpServer(self._reader, self._change, fronts)
        asyncio.get_running_loop().add_reader(self._manager.fileno(), self._hear)
        async with fronts.telling(self._told["own"]):
            self._follow(self._told)
            beating = asyncio.create_task(self._beat())
            await asyncio.gather(self._server.serve(sockets=[]), self._serve_grpc())
            if self._following is not None:
                self._following.cancel()
            await self._reader.stop()
            beating.cancel()
        self._observer.note_cpu_time()
        if os.getppid() != self._told["manager"]:  # it was killed before it could remove its socket
            shutil.rmtree(self._told["folder"], ignore_errors=True)

    async def _serve_grpc(self) -> None:
        if self._settings.grpc_port is not None:
            from service.grpc.server import serve_grpc

            await serve_grpc(self._reader, self._settings.grpc_port, self._server.body_room)

    async def _beat(self) -> None:
        """Repeats that this process takes connections, because the manager replaces one that is silent."""
        while True:
            self._observer.note_cpu_time()
            self._tell()
            await asyncio.sleep(HEARTBEAT_S)

    def _hear(self) -> None:
        try:
            message, files = self._manager.receive_with_files(0.0)
        except BlockingIOError:
            return
        except ConnectionClosedError:
            asyncio.get_running_loop().remove_reader(self._manager.fileno())
            self._change.end()
            self._server.drain()
            return
        if "connection" in message:
            self._take(message["connection"], files)
        elif "serve" in message:
            self._follow(message)
        elif "news" in message:
            self._failing = set(message["news"]["failing"])
        elif "answer" in message:
            self._change.take_answer(message)

    def _take(self, number: int, files: list[int]) -> None:
        """Takes a connection, and its descriptor unless this process has too many.

        The manager is told before a byte is read: until then it may give the connection to another front.
        """
        (self._taken if files else self._not_taken).append(number)
        self._tell()
        for descriptor in files:
            self._begin(self._server.take(socket.socket(fileno=descriptor)))

    def _is_failing(self, engine: str) -> bool:
        return engine in self._failing

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    def _follow(self, told: Message) -> None:
        """Serves what the manager's latest message says; earlier ones no longer count."""
        if told["serve"] <= self._newest:
            return
        self._newest = told["serve"]
        self._following = asyncio.create_task(self._serve(told, self._following))
        self._following.add_done_callback(self._end)

    def _end(self, following: asyncio.Task[None]) -> None:
        """Ends this front, which cannot serve what it should; the manager starts another."""
        if not following.cancelled() and following.exception() is not None:
            log.error("a front cannot go on", exc_info=following.exception())
            self._server.drain()

    async def _serve(self, told: Message, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        main = await self._deployment(told["main"])
        canary = told["canary"] and await self._deployment(told["canary"])
        self._reader.serve(main, canary, told["percent"])
        for key, deployment in self._deployments.items():
            if deployment not in self._reader.deployments:
                self._begin(self._leave(key, deployment))
        self._serves = told["serve"]
        self._tell()
        settle_memory()

    async def _deployment(self, told: Message) -> Deployment:
        """A model of this front, whose workers have answered."""
        key = _key(told)
        if key not in self._deployments:
            bundle = Bundle(told["bundle"])
            self._deployments[key] = self._reader.new_deployment(bundle, self._engines(told, bundle))
        deployment = self._deployments[key]
        if not deployment.has_started:
            try:
                await deployment.start()
            except BaseException:  # or a change that is undone meanwhile
                del self._deployments[key]
                await deployment.close()
                raise
        return deployment

    async def _leave(self, key: str, deployment: Deployment) -> None:
        await deployment.retire()
        if self._deployments.pop(key, None) is not None:
            self._tell()

    def _tell(self) -> None:
        """Tells the manager all that it should know; later again what it missed while it was stopped."""
        message = {
            "serves": self._serves,
            "uses": list(self._deployments),
            "taken": self._taken,
            "not_taken": self._not_taken,
        }
        try:
            self._manager.send(message)
        except ConnectionClosedError:
            log.debug("the manager is gone, or stopped")
        else:
            self._taken, self._not_taken = [], []

    def _engines(self, told: Message, bundle: Bundle) -> list[RemoteEngine]:
        return [
            RemoteEngine(
                path,
                bundle.call_bytes(),
                is_failing=partial(self._is_failing, path),
            )
            for path in told["engines"]
        ]


class RemoteChange:
    """Asks the manager to change the model for all its fronts (see ModelChange)."""

    def __init__(self, manager: Connection) -> None:
        self._manager = manager
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Message]] = {}

    async def load(self, folder: Path, canary_percent: float | None = None) -> None:
        await self._ask(change="load", folder=str(folder), percent=canary_percent)

    async def promote(self) -> None:
        await self._ask(change="promote")

    async def roll_back(self) -> None:
        await self._ask(change="roll back")

    def take_answer(self, message: Message) -> None:
        """Takes the manager's answer to a change that was asked for."""
        asked = self._asked.get(message["answer"])
        if asked is not None and not asked.done():
            asked.set_result(message)

    def end(self) -> None:
        """Fails all open changes, because the manager is gone."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ConnectionClosedError("the manager is gone"))

    async def _ask(self, **message: Any) -> None:
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._manager.send({"number": number, **message})
            told = await answer
        except ConnectionClosedError:
            raise ServiceError(ProblemType.NOT_READY, "The service is stopping.", crops=0) from None
        finally:
            del self._asked[number]
        if "problem" in told:
            raise ServiceError(
                ProblemType[told["problem"]], told["detail"], retry_after=told["retry_after"], crops=0
            )


def _key(told: Message) -> str:
    """The manager's name for a model: the socket of its first worker."""
    key: str = told["engines"][0]
    return key


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wake_when_parent_dies()
    manager = Connection(socket.socket(fileno=int(sys.argv[1])))
    words = sys.stdin.buffer.read()
    if not words:  # the manager has ended meanwhile
        return 0
    told = json.loads(words)
    configure_logging(Settings(**told["settings"]))
    share_interpreter()
    descriptors = list(map(int, sys.argv[2:]))
    counts = [Counts(descriptor) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)

    async def run() -> None:
        await FrontProcess(manager, counts, told).run()

    uvloop.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
