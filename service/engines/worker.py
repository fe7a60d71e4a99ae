"""The engine worker: a process that loads one bundle and runs its graphs for the front, nothing else.

It needs NumPy and the engine's own package, on any Python from 3.7 on. It ends when the front closes the
socket or is gone, and leaves Ctrl-C, SIGTERM and SIGHUP to the front, which finishes what is in flight first.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
import traceback
from typing import Any

from service.engines.bundle import Bundle, BundleError
from service.engines.engine import Engine, EngineOptions, open_engine
from service.engines.protocol import Arena, Connection, ConnectionClosedError


class Worker:
    """Answers the front's calls, one at a time."""

    def __init__(self, connection: Connection, arena: Arena) -> None:
        self._connection = connection
        self._arena = arena
        self._engine: Engine | None = None

    def run(self) -> None:
        """Until the front closes the socket."""
        while True:
            try:
                call = self._connection.receive()
                self._connection.send(self._answer(call))
            except ConnectionClosedError:
                return

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._load(call) if call["call"] == "load" else self._run_graph(call)
        except BundleError as error:
            return {"refused": str(error)}
        except Exception as error:
            traceback.print_exc()
            return {"failed": repr(error)}

    def _load(self, call: dict[str, Any]) -> dict[str, Any]:
        self._engine = open_engine(Bundle(call["bundle"]), EngineOptions(**call["options"]))
        return {"release": self._engine.release, "costs": self._engine.warm_up()}

    def _run_graph(self, call: dict[str, Any]) -> dict[str, Any]:
        if self._engine is None:
            raise ValueError("no bundle is loaded")
        tensors = self._arena.views(call["tensors"])
        started = time.perf_counter()
        outputs = self._engine.run(call["graph"], tensors, call["times"])
        seconds = time.perf_counter() - started
        places = self._arena.write(call["slot"], outputs, len(outputs[0]))
        return {"tensors": places, "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the socket to the front")
    parser.add_argument("--arena", type=int, required=True, help="descriptor of the shared memory")
    parser.add_argument("--slot-bytes", type=int, required=True)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(socket.socket(fileno=options.control))
    Worker(connection, Arena(options.arena, options.slot_bytes)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
