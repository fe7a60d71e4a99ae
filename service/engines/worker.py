"""The engine worker: a process that loads one bundle and runs its graphs for the front, nothing else.

It needs NumPy and the engine's own package, on any Python from 3.7 on. It ends when the front closes the socket
or is gone, and leaves Ctrl-C and SIGTERM to the front, which finishes what is in flight first.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
import traceback
from typing import Any, Dict, Optional

from service.engines.bundle import Bundle
from service.engines.engine import Engine, EngineOptions
from service.engines.protocol import Arena, Connection, ConnectionClosed


class Worker:
    """Answers the front's calls, one at a time."""

    def __init__(self, connection: Connection, arena: Arena) -> None:
        self._connection = connection
        self._arena = arena
        self._engine: Optional[Engine] = None

    def run(self) -> None:
        """Until the front closes the socket."""
        while True:
            try:
                call = self._connection.receive()
                self._connection.send(self._answer(call))
            except ConnectionClosed:
                return

    def _answer(self, call: Dict[str, Any]) -> Dict[str, Any]:
        try:
            if call["call"] == "load":
                return self._load(call)
            return self._run_graph(call)
        except (OSError, ValueError) as error:
            return {"refused": str(error)}
        except Exception as error:
            traceback.print_exc()
            return {"failed": repr(error)}

    def _load(self, call: Dict[str, Any]) -> Dict[str, Any]:
        self._engine = Engine(Bundle(call["bundle"]), EngineOptions(**call["options"]))
        return {"release": self._engine.release, "batch_sizes": self._engine.batch_sizes}

    def _run_graph(self, call: Dict[str, Any]) -> Dict[str, Any]:
        if self._engine is None:
            raise ValueError("no bundle is loaded")
        run = {"vision": self._engine.vision, "refine": self._engine.refine, "fused": self._engine.fused}
        tensors = self._arena.read(call["tensors"])
        started = time.perf_counter()
        outputs = run[call["call"]](*tensors)
        seconds = time.perf_counter() - started
        return {"tensors": self._arena.write(outputs), "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the socket to the front")
    parser.add_argument("--arena", type=int, required=True, help="descriptor of the shared memory")
    parser.add_argument("--arena-bytes", type=int, required=True)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(socket.socket(fileno=options.control))
    Worker(connection, Arena(options.arena, options.arena_bytes)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
