"""The engine worker: a process that only loads one bundle and runs its graphs for fronts.

It needs NumPy and the engine's own package, on any Python from 3.7 on. It ends when the front closes the
socket or is gone, and leaves Ctrl-C, SIGTERM and SIGHUP to the front, which finishes what is in flight first.
"""

from __future__ import annotations

import argparse
import selectors
import signal
import socket
import sys
import traceback
from typing import Any, NamedTuple

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.engines.engine import Engine, EngineOptions, open_engine
from service.engines.parent import wake_when_parent_dies
from service.engines.protocol import Arena, Connection, ConnectionClosedError

_INTRODUCTION_S = 1.0


class Peer(NamedTuple):
    """A caller: the front that started this worker, or another one."""

    connection: Connection
    arena: Arena


class Worker:
    """Answers calls of all fronts, one at a time, in the order in which they come.

    `owner` started this process and asks it to load; when it goes, the worker ends. Other fronts connect at
    the `listener`, and get answers once a bundle is loaded.
    """

    def __init__(self, owner: Peer, listener: socket.socket | None = None) -> None:
        self._owner = owner
        self._listener = listener
        self._engine: Engine | None = None
        self._loaded: dict[str, Any] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(owner.connection, selectors.EVENT_READ, owner)

    def run(self) -> None:
        """Answers calls until its owner closes the socket."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._take_in()
                elif not self._serve(key.data) and key.data is self._owner:
                    return

    def _take_in(self) -> None:
        """Accepts another front."""
        assert self._listener is not None
        connection = Connection(self._listener.accept()[0])
        try:
            call, (file,) = connection.receive_with_files(_INTRODUCTION_S)
            with open(file, "rb+", buffering=0):
                peer = Peer(connection, Arena(file, call["slot_bytes"]))
            connection.send(self._loaded)
        except (ConnectionClosedError, OSError, ValueError):
            connection.close()
        else:
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def _serve(self, peer: Peer) -> bool:
        """Answers one call; returns false if the peer has gone."""
        try:
            peer.connection.send(self._answer(peer.connection.receive(), peer.arena))
        except ConnectionClosedError:
            self._selector.unregister(peer.connection)
            peer.connection.close()
            return False
        return True

    def _answer(self, call: dict[str, Any], arena: Arena) -> dict[str, Any]:
        try:
            if call["call"] == "ping":
                return {}
            return self._load(call) if call["call"] == "load" else self._run_graph(call, arena)
        except BundleError as error:
            return {"refused": str(error)}
        except Exception as error:
            traceback.print_exc()
            return {"failed": repr(error)}

    def _load(self, call: dict[str, Any]) -> dict[str, Any]:
        self._engine = open_engine(Bundle(call["bundle"]), EngineOptions(**call["options"]))
        self._loaded = {"release": self._engine.release, "costs": self._engine.warm_up()}
        if self._listener is not None:
            self._selector.register(self._listener, selectors.EVENT_READ)
        return self._loaded

    def _run_graph(self, call: dict[str, Any], arena: Arena) -> dict[str, Any]:
        if self._engine is None:
            raise ValueError("no bundle is loaded")
        tensors = arena.views(call["tensors"])
        outputs, took = self._engine.run(call["graph"], tensors, call["times"])
        places = arena.write(call["slot"], outputs, len(outputs[0]))
        return {"tensors": places, "took": took}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the socket to the front")
    parser.add_argument("--arena", type=int, required=True, help="descriptor of the shared memory")
    parser.add_argument("--slot-bytes", type=int, required=True)
    parser.add_argument("--listener", type=int, help="descriptor of the socket at which other fronts connect")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wake_when_parent_dies()
    owner = Peer(Connection(socket.socket(fileno=options.control)), Arena(options.arena, options.slot_bytes))
    listener = None if options.listener is None else socket.socket(fileno=options.listener)
    Worker(owner, listener).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
