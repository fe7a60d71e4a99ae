"""The front's side of an engine worker: start the process, call it, notice that it died."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple, Sequence

import numpy as np

from service.engines.bundle import Bundle, BundleError
from service.engines.engine import Cost, EngineOptions
from service.engines.protocol import SLOTS, Arena, Connection, ConnectionClosedError, Rows, socket_pair

_BOOTSTRAP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap.py")
_LAST_WORDS_S = 0.2


class EngineError(Exception):
    """An engine worker could not do what it was called for."""


class WorkerDiedError(EngineError):
    """The worker process ended, or was killed because it did not answer in time."""


class NeverRanError(WorkerDiedError):
    """The worker ended before it had begun with this call."""


class CallError(EngineError):
    """The worker lives, but the engine raised an error in this call."""


class Answer(NamedTuple):
    """What a graph returned, and how long it ran in the worker, in seconds."""

    tensors: list[np.ndarray]
    seconds: float


class Loaded(NamedTuple):
    """What a worker says once it is ready: its library and release, and what each graph costs."""

    release: str
    costs: list[Cost]


def module_command(python: str, module: str) -> list[str]:
    """The start of a command line that runs a module of this project under `python`."""
    return [python, _BOOTSTRAP, module]


class EngineProcess:
    """A worker process. One thread at a time may call it; any thread may kill it.

    It runs one call after the other. `SLOTS` of them may be sent before the first answer is received.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions, python: str = sys.executable) -> None:
        self._bundle = bundle
        self._options = options
        self._process, control, self._arena = _spawn(python, options, bundle.call_bytes())
        self._connection = Connection(control)
        self._sent = 0

    def load(self, timeout: float = 300.0) -> Loaded:
        """Loads the bundle and runs each of its graphs: the worker is ready when this returns.

        Raises BundleError where the worker refuses the bundle, EngineError where it fails or takes too long.
        """
        self._send({"call": "load", "bundle": self._bundle.folder, "options": self._options._asdict()})
        try:
            answer = self._receive(timeout)
        except socket.timeout:
            raise self._silent(timeout) from None
        return Loaded(answer["release"], [Cost(*cost) for cost in answer["costs"]])

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Blocks until the process has ended; its return code."""
        return self._process.wait()

    def run(self, kind: str, tensors: Sequence[np.ndarray], times: int = 1, timeout: float = 60.0) -> Answer:
        """Runs one graph (see Engine.run). A worker silent for `timeout` seconds is killed."""
        self.send(kind, tensors, len(tensors[0]), times)
        try:
            return self.receive(timeout)
        except socket.timeout:
            raise self._silent(timeout) from None

    def fileno(self) -> int:
        """Readable when an answer is there, or the end."""
        return self._connection.fileno()

    def send(self, kind: str, columns: Sequence[Rows], size: int, times: int = 1) -> None:
        """Has one graph run, after the calls sent before. Raises WorkerDiedError.

        `columns` are the rows of its tensors, which are padded to a batch of `size` (see Engine.run).
        """
        slot = self._sent % SLOTS
        places = self._arena.write(slot, columns, size)
        self._send({"call": "run", "graph": kind, "times": times, "slot": slot, "tensors": places})
        self._sent += 1

    def receive(self, timeout: float = 0.0) -> Answer:
        """The answer to the first call that has none yet.

        Raises WorkerDiedError, CallError where that call failed, and socket.timeout after `timeout` seconds
        (BlockingIOError at once, where that is 0).
        """
        message = self._receive(timeout)
        return Answer(self._arena.read(message["tensors"]), message["seconds"])

    def close(self, timeout: float = 10.0) -> None:
        """Ends the worker when it has finished its call, or by force after `timeout` seconds."""
        self._connection.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send(message)
        except ConnectionClosedError:
            raise self._ended() from None

    def _receive(self, timeout: float) -> dict[str, Any]:
        try:
            answer = self._connection.receive(timeout)
        except ConnectionClosedError:
            raise self._ended() from None
        if "refused" in answer:
            raise BundleError(answer["refused"])
        if "failed" in answer:
            raise CallError(answer["failed"])
        return answer

    def _ended(self) -> WorkerDiedError:
        """The socket is closed: the process has ended, is about to, or has to."""
        try:
            code = self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return WorkerDiedError(f"the engine worker {ending(code)}")

    def _silent(self, seconds: float) -> WorkerDiedError:
        self.kill()
        return WorkerDiedError(f"the engine worker gave no answer for {seconds:g} s")


def _spawn(
    python: str, options: EngineOptions, slot_bytes: int
) -> tuple[subprocess.Popen, socket.socket, Arena]:
    """Starts a fresh interpreter: a process forked after an engine has loaded its threads would hang."""
    ours, theirs = socket_pair()
    # A file without a name: nothing is left behind, whichever process dies.
    with theirs, tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.truncate(SLOTS * slot_bytes)
        command = module_command(python, "service.engines.worker")
        command += ["--control", str(theirs.fileno()), "--arena", str(file.fileno())]
        command += ["--slot-bytes", str(slot_bytes)]
        # MindSpore and Lite log their own warnings (GLOG level 1) to the terminal unless told otherwise.
        environment = {"GLOG_v": "3", "OMP_NUM_THREADS": str(options.threads), **os.environ}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env=environment,
                pass_fds=[theirs.fileno(), file.fileno()],
            )
        except OSError as error:
            ours.close()
            raise BundleError(f"{python}: not a Python that can run ({error.strerror})") from error
        return process, ours, Arena(file.fileno(), slot_bytes)


def ending(code: int) -> str:
    """How a process with this return code ended, in words."""
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
