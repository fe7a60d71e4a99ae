"""The engine worker: a process that only loads one bundle and runs its graphs for fronts.

It needs NumPy and the engine's own package, on any Python from 3.7 on. It ends when the front closes the
socket or is gone, and leaves Ctrl-C, SIGTERM and SIGHUP to the front, which finishes what is in flight first.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import Any, Iterator

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.engines.cores import SharedCores
from service.engines.engine import Cost, Engine, EngineOptions, open_engine
from service.engines.parent import wake_when_parent_dies
from service.engines.protocol import Arena, Connection, ConnectionClosedError

_INTRODUCTION_S = 1.0
_FIRST_CALLS_S = 1.0
"""How long the calls that waited for the worker go before the compilation of larger batch sizes."""
_LONGEST_WAIT_S = 0.25
"""How long a step of this compilation waits for a moment without calls: under full load there is none."""


class Peer:
    """A caller: the front that started this worker, or another one."""

    def __init__(self, connection: Connection, arena: Arena) -> None:
        self.connection = connection
        self.arena = arena
        self.told = 0
        """How many costs it knows of."""


class Worker:
    """Answers calls of all fronts, one at a time, in the order in which they come.

    `owner` started this process and asks it to load; when it goes, the worker ends. Other fronts connect at
    the `listener`, and get answers once a bundle is loaded. `computing` is a descriptor of the file in which
    workers on the same cores say that they compute.
    """

    def __init__(
        self, owner: Peer, listener: socket.socket | None = None, computing: int | None = None
    ) -> None:
        self._owner = owner
        self._listener = listener
        self._computing_file = computing
        self._cores: SharedCores | None = None
        self._engine: Engine | None = None
        self._costs: list[Cost] = []
        self._warming_up: Iterator[list[Cost]] | None = None
        """Compiles between calls what the first ones did not wait for."""
        self._step_due = 0.0
        """When its next step may be done between calls; a while later it is done, even if calls wait."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(owner.connection, selectors.EVENT_READ, owner)

    def run(self) -> None:
        """Answers calls until its owner closes the socket."""
        while True:
            events = self._selector.select(self._until_warming_up())
            if not events or self._has_waited_long():
                self._warm_up_further()
            for key, _ in events:
                if key.data is None:
                    self._take_in()
                elif not self._serve(key.data) and key.data is self._owner:
                    return

    @property
    def leaves_nothing(self) -> bool:
        """Whether the process may end at once. On a CPU MindSpore takes 0.4 s to tidy up what ends anyway."""
        return self._engine is not None and self._engine.is_on_cpu

    def _take_in(self) -> None:
        """Accepts another front."""
        assert self._listener is not None
        connection = Connection(self._listener.accept()[0])
        try:
            call, (file,) = connection.receive_with_files(_INTRODUCTION_S)
            with open(file, "rb+", buffering=0):
                peer = Peer(connection, Arena(file, call["slot_bytes"]))
            connection.send(self._loaded(peer))
        except (ConnectionClosedError, OSError, ValueError):
            connection.close()
        else:
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def _serve(self, peer: Peer) -> bool:
        """Answers one call; returns false if the peer has gone."""
        try:
            peer.connection.send(self._answer(peer.connection.receive(), peer))
        except ConnectionClosedError:
            self._selector.unregister(peer.connection)
            peer.connection.close()
            return False
        return True

    def _answer(self, call: dict[str, Any], peer: Peer) -> dict[str, Any]:
        try:
            if call["call"] == "ping":
                return {}
            return self._load(call) if call["call"] == "load" else self._run_graph(call, peer)
        except BundleError as error:
            return {"refused" if call["call"] == "load" else "failed": str(error)}
        except Exception as error:
            traceback.print_exc()
            return {"failed": repr(error)}

    def _load(self, call: dict[str, Any]) -> dict[str, Any]:
        """With `early` the smallest batch sizes alone are compiled now, if the engine may compile later."""
        options = EngineOptions(**call["options"])
        self._engine = open_engine(Bundle(call["bundle"]), options)
        graphs = self._engine.graphs
        now = list(dict(graphs).items()) if call["early"] and self._engine.may_compile_later else graphs
        self._costs = self._engine.warm_up(now)
        later = (self._engine.warming_up([graph]) for graph in graphs if graph not in now)
        if self._computing_file is not None:
            self._cores = SharedCores(self._computing_file, options.place, options.places)
        self._step_due = time.monotonic() + _FIRST_CALLS_S
        self._warming_up = itertools.chain.from_iterable(later)
        if self._listener is not None:
            self._selector.register(self._listener, selectors.EVENT_READ)
        return self._loaded(self._owner)

    def _loaded(self, peer: Peer) -> dict[str, Any]:
        assert self._engine is not None
        peer.told = len(self._costs)
        return {"release": self._engine.release, "costs": self._costs}

    def _until_warming_up(self) -> float | None:
        """Seconds until what is left may be compiled; none if nothing is."""
        if self._warming_up is None:
            return None
        return max(0.0, self._step_due - time.monotonic())

    def _has_waited_long(self) -> bool:
        return self._warming_up is not None and time.monotonic() > self._step_due + _LONGEST_WAIT_S

    def _warm_up_further(self) -> None:
        assert self._warming_up is not None
        try:
            self._costs += next(self._warming_up)
        except StopIteration:
            self._warming_up = None
        except Exception:
            traceback.print_exc()  # and so does every call that wants this batch size
            self._warming_up = None
        self._step_due = time.monotonic()

    def _run_graph(self, call: dict[str, Any], peer: Peer) -> dict[str, Any]:
        if self._engine is None:
            raise ValueError("no bundle is loaded")
        tensors = peer.arena.views(call["tensors"])
        with contextlib.nullcontext() if self._cores is None else self._cores.computing():
            outputs, took, _ = self._engine.run(call["graph"], tensors, call["times"])
        places = peer.arena.write(call["slot"], outputs, len(outputs[0]))
        answer: dict[str, Any] = {"tensors": places, "took": took}
        if peer.told < len(self._costs):
            answer["costs"] = self._costs[peer.told :]
            peer.told = len(self._costs)
        return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the socket to the front")
    parser.add_argument("--arena", type=int, required=True, help="descriptor of the shared memory")
    parser.add_argument("--slot-bytes", type=int, required=True)
    parser.add_argument("--listener", type=int, help="descriptor of the socket at which other fronts connect")
    parser.add_argument("--computing", type=int, help="descriptor of the file of workers on the same cores")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wake_when_parent_dies()
    owner = Peer(Connection(socket.socket(fileno=options.control)), Arena(options.arena, options.slot_bytes))
    listener = None if options.listener is None else socket.socket(fileno=options.listener)
    worker = Worker(owner, listener, options.computing)
    worker.run()
    if worker.leaves_nothing:
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
