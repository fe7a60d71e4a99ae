"""The front's end of a connection to an engine worker: calls go out, answers come back in the same order."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

from service.bundle_format.manifest import BundleError
from service.engines.engine import Cost, EngineAnswer
from service.engines.protocol import SLOTS, Arena, Connection, ConnectionClosedError, Rows


class EngineError(Exception):
    """An engine worker could not do what it was asked for."""


class WorkerDiedError(EngineError):
    """The worker process ended, or was killed because it did not answer in time."""


class NeverRanError(WorkerDiedError):
    """The worker ended before it began this call."""


class CallError(EngineError):
    """The worker lives, but the engine raised an error in this call."""


class Loaded(NamedTuple):
    """What a worker says once it is ready: its library and release, and what each compiled graph costs."""

    release: str
    costs: list[Cost]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Loaded:
        return cls(answer["release"], _costs(answer))


class WorkerConnection:
    """One connection and its arena. `SLOTS` calls may be sent before the first answer is received."""

    def __init__(self, connection: Connection, arena: Arena) -> None:
        self._connection = connection
        self._arena = arena
        self._sent = 0

    def fileno(self) -> int:
        """Readable when there is an answer, or when the connection has ended."""
        return self._connection.fileno()

    def send(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> None:
        """Asks the worker to run a graph (see Engine.run), after the calls sent before. Raises
        WorkerDiedError.

        `columns` are the rows of its tensors, which are padded to a batch of `size`.
        """
        slot = self._sent % SLOTS
        places = self._arena.write(slot, columns, size)
        self.send_message({"call": "run", "graph": kind, "times": times, "slot": slot, "tensors": places})
        self._sent += 1

    def ping(self) -> None:
        """Sends a call that runs nothing and whose answer has no tensors. Raises WorkerDiedError."""
        self.send_message({"call": "ping"})

    def receive(self, timeout: float = 0.0) -> EngineAnswer:
        """The answer to the first call that has none yet.

        Raises WorkerDiedError, CallError if that call failed, and socket.timeout after `timeout` seconds
        (BlockingIOError at once, if that is 0).
        """
        message = self.receive_message(timeout)
        return EngineAnswer(
            self._arena.read(message.get("tensors", [])), message.get("took", {}), _costs(message)
        )

    def close(self) -> None:
        """Tells the worker that no more calls come."""
        self._connection.close()

    def send_message(self, message: dict[str, Any]) -> None:
        """Raises WorkerDiedError."""
        try:
            self._connection.send(message)
        except ConnectionClosedError:
            raise self._closed() from None

    def receive_message(self, timeout: float | None) -> dict[str, Any]:
        """Raises WorkerDiedError, BundleError and CallError, and like `receive` if nothing comes."""
        try:
            answer = self._connection.receive(timeout)
        except ConnectionClosedError:
            raise self._closed() from None
        if "refused" in answer:
            raise BundleError(answer["refused"])
        if "failed" in answer:
            raise CallError(answer["failed"])
        return answer

    def _closed(self) -> WorkerDiedError:
        """The error if the other end is closed."""
        return WorkerDiedError("the engine worker has ended")


def _costs(message: dict[str, Any]) -> list[Cost]:
    return [Cost(*cost) for cost in message.get("costs", [])]
