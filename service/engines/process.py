"""The front's side of an engine worker: start the process, call it, notice that it died."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from typing import IO, Iterator, Sequence

import numpy as np

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.engines.connection import EngineError, Loaded, WorkerConnection, WorkerDiedError
from service.engines.engine import EngineAnswer, EngineOptions
from service.engines.protocol import SLOTS, Arena, Connection, ConnectionClosedError, connected, socket_pair

_BOOTSTRAP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap.py")
_LAST_WORDS_S = 0.2
DEATH_S = 5.0
"""How long to wait until a killed process has ended; one that waits for a device is then left alone."""
SHARED_MEMORY = "/dev/shm"
"""The folder of arenas, if the system has it."""


def module_command(python: str, module: str) -> list[str]:
    """The start of a command line that runs a module of this project under `python`."""
    return [python, _BOOTSTRAP, module]


class EngineProcess(WorkerConnection):
    """A worker process, and the connection to it. One thread at a time may call it; any thread may kill it.

    With a `listener`, other processes may connect to the worker as well (see attach). Workers on the same
    cores share the file `computing` (see service.engines.cores).
    """

    def __init__(
        self,
        bundle: Bundle,
        options: EngineOptions,
        python: str = sys.executable,
        listener: socket.socket | None = None,
        computing: IO[bytes] | None = None,
    ) -> None:
        self._bundle = bundle
        self._options = options
        self._process, control, arena = _spawn(
            python, options, bundle.call_bytes(), _given(listener=listener, computing=computing)
        )
        super().__init__(Connection(control), arena)

    def load(self, timeout: float = 300.0, *, early: bool = False) -> Loaded:
        """Loads the bundle and runs each of its graphs: the worker is ready when this returns.

        With `early` it may be so once it has run the smallest batch size: others are compiled between calls,
        or by the first call that wants one, and their costs come with a later answer.

        Raises BundleError if the worker refuses the bundle, EngineError if it fails or takes too long.
        """
        options = self._options._asdict()
        self.send_message({"call": "load", "bundle": self._bundle.folder, "options": options, "early": early})
        try:
            return Loaded.of(self.receive_message(timeout))
        except socket.timeout:
            raise self._silent(timeout) from None

    @property
    def largest_batch(self) -> int:
        """The largest batch size of the bundle."""
        return max(graph.batch for graph in self._bundle.graphs)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Blocks until the process has ended; returns its return code."""
        return self._process.wait()

    def begin_kill(self) -> None:
        """Makes the kernel end the process, without waiting for it."""
        self._process.kill()

    def run(
        self, kind: str, tensors: Sequence[np.ndarray], times: int = 1, timeout: float = 60.0
    ) -> EngineAnswer:
        """Runs one graph (see Engine.run). A worker silent for `timeout` seconds is killed."""
        self.send(kind, tensors, len(tensors[0]), times)
        try:
            return self.receive(timeout)
        except socket.timeout:
            raise self._silent(timeout) from None

    def close(self, timeout: float = 10.0) -> None:
        """Ends the worker after its present call, or by force after `timeout` seconds."""
        super().close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the connection and the process; the kernel may not end a process that waits for a device."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DEATH_S)
        super().close()

    def hang_up(self) -> None:
        """Ends only the connection."""
        super().close()

    def _closed(self) -> WorkerDiedError:
        """The error for a closed socket: the process has ended, is about to end, or must be ended."""
        try:
            code = self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return WorkerDiedError("the engine worker has closed its socket")
        return WorkerDiedError(f"the engine worker {ending(code)}")

    def _silent(self, seconds: float) -> WorkerDiedError:
        self.kill()
        return WorkerDiedError(f"the engine worker gave no answer for {seconds:g} s")


def _given(**files: IO[bytes] | socket.socket | None) -> dict[str, int]:
    return {f"--{name}": file.fileno() for name, file in files.items() if file is not None}


def _spawn(
    python: str, options: EngineOptions, slot_bytes: int, shared: dict[str, int]
) -> tuple[subprocess.Popen, socket.socket, Arena]:
    """Starts a fresh interpreter: a process forked after an engine has loaded its threads would hang."""
    ours, theirs = socket_pair()
    with theirs, arena_file(slot_bytes) as file:
        descriptors = {"--control": theirs.fileno(), "--arena": file.fileno(), **shared}
        command = [*module_command(python, "service.engines.worker"), "--slot-bytes", str(slot_bytes)]
        for flag, descriptor in descriptors.items():
            command += [flag, str(descriptor)]
        # Without this, MindSpore and Lite log their warnings (GLOG level 1) to the terminal.
        environment = {"GLOG_v": "3", "OMP_NUM_THREADS": str(options.threads), **os.environ}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env=environment,
                pass_fds=list(descriptors.values()),
            )
        except OSError as error:
            ours.close()
            raise BundleError(f"{python}: not a Python that can run ({error.strerror})") from error
        return process, ours, Arena(file.fileno(), slot_bytes)


@contextlib.contextmanager
def arena_file(slot_bytes: int) -> Iterator[IO[bytes]]:
    """A file without a name for an arena, so that nothing stays behind, whichever process dies.

    Raises EngineError if there is no room: otherwise a process that writes into it would be ended (SIGBUS).
    """
    folder = SHARED_MEMORY if os.path.isdir(SHARED_MEMORY) else tempfile.gettempdir()
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, SLOTS * slot_bytes)
        except OSError as error:
            raise EngineError(
                f"{folder}: no room for {SLOTS * slot_bytes / 2**20:.1f} MiB ({error.strerror}); "
                "free some, or give the container more with --shm-size"
            ) from error
        yield file


def attach(path: str, slot_bytes: int) -> WorkerConnection:
    """A connection to a worker that listens at this path.

    Raises OSError if none does, EngineError if there is no room, WorkerDiedError if it ends meanwhile.

    The worker says what it has loaded (see Loaded) in its first message, which comes when it is ready.
    """
    with arena_file(slot_bytes) as file:
        connection = Connection(connected(path))
        try:
            connection.send({"call": "attach", "slot_bytes": slot_bytes}, [file.fileno()])
            return WorkerConnection(connection, Arena(file.fileno(), slot_bytes))
        except BaseException as error:
            connection.close()
            if isinstance(error, ConnectionClosedError):
                raise WorkerDiedError("the engine worker has ended") from error
            raise


def ending(code: int) -> str:
    """How a process with this return code ended, in words."""
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
