"""The front's side of an engine worker: start the process, call it, notice that it died."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from service.engines.bundle import Bundle, BundleError
from service.engines.engine import EngineOptions
from service.engines.protocol import Arena, Connection, ConnectionClosed

_BOOTSTRAP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap.py")


class WorkerDied(Exception):
    """The worker process ended, or was killed because it did not answer in time."""


class CallFailed(Exception):
    """The worker lives, but the engine raised an error in this call."""


class Answer(NamedTuple):
    """What a graph returned, and how long it ran in the worker, in seconds."""

    tensors: List[np.ndarray]
    seconds: float


def module_command(python: str, module: str) -> List[str]:
    """The start of a command line that runs a module of this project under `python`."""
    return [python, _BOOTSTRAP, module]


class EngineProcess:
    """A worker process with one bundle loaded. One thread at a time may call it.

    Raises BundleError where the worker refuses the bundle, WorkerDied where it ends while loading.
    """

    def __init__(
        self, bundle: Bundle, options: EngineOptions, python: str = sys.executable, start_timeout: float = 300.0
    ) -> None:
        self._process, control, self._arena = _spawn(python, options, bundle.arena_bytes())
        self._connection = Connection(control)
        try:
            loaded = self._exchange(
                {"call": "load", "bundle": bundle.folder, "options": options._asdict()}, start_timeout
            )
        except BaseException:
            self.kill()
            raise
        self.release: str = loaded["release"]
        self.batch_sizes: List[int] = loaded["batch_sizes"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> int:
        """Blocks until the process has ended; its return code."""
        return self._process.wait()

    def call(self, graph: str, tensors: Sequence[np.ndarray], timeout: float = 60.0) -> Answer:
        """Runs "vision", "refine" or "fused" (see Engine). A worker silent for `timeout` seconds is killed."""
        message = self._exchange({"call": graph, "tensors": self._arena.write(tensors)}, timeout)
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

    def _exchange(self, message: Dict[str, Any], timeout: float) -> Dict[str, Any]:
        try:
            self._connection.send(message)
            answer = self._connection.receive(timeout)
        except ConnectionClosed:
            raise WorkerDied("the engine worker {}".format(_ending(self._process.wait()))) from None
        except socket.timeout:
            self.kill()
            raise WorkerDied("the engine worker gave no answer for {:g} s".format(timeout)) from None
        if "refused" in answer:
            raise BundleError(answer["refused"])
        if "failed" in answer:
            raise CallFailed(answer["failed"])
        return answer


def _spawn(python: str, options: EngineOptions, arena_bytes: int) -> tuple[subprocess.Popen, socket.socket, Arena]:
    """Starts a fresh interpreter: a process forked after an engine has loaded its threads would hang."""
    ours, theirs = socket.socketpair()
    # A file without a name: nothing is left behind, whichever process dies.
    with theirs, tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.truncate(arena_bytes)
        command = module_command(python, "service.engines.worker")
        command += ["--control", str(theirs.fileno()), "--arena", str(file.fileno())]
        command += ["--arena-bytes", str(arena_bytes)]
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
            raise BundleError("{}: not a Python that can run ({})".format(python, error.strerror)) from error
        return process, ours, Arena(file.fileno(), arena_bytes)


def _ending(code: int) -> str:
    return "was ended by signal {}".format(-code) if code < 0 else "ended with exit code {}".format(code)
