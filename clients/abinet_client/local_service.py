"""Starts a service for as long as a program needs it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import IO, Callable

from abinet_client import AbinetError, Retry
from abinet_client._interpreter import module_command
from abinet_client.connect import connect

POLL_S = 0.05
STOP_S = 60.0
_LONGEST_FOLDER = 64

_LISTENING = re.compile(r"^abinet: listening on (\S+)$", re.MULTILINE)
_EXPORTING = re.compile(r"^abinet: (exporting .*)$", re.MULTILINE)

Report = Callable[[str], object]


@contextlib.contextmanager
def local_service(options: Sequence[str], report: Report = lambda line: None) -> Iterator[str]:
    """The address of ``abinet serve OPTIONS...`` once it is ready.

    It listens on a Unix socket that only this user can reach, "unix:PATH"; with ``--port`` among the options
    at "http://HOST:PORT" instead. It ends with the block, on Ctrl-C and SIGTERM too, and by itself if this
    process is killed. ``report`` gets a line if a start takes long.

    Raises:
        ValueError: it cannot serve, or has ended meanwhile; the message is its own.
    """
    if importlib.util.find_spec("service") is None:
        raise ValueError("abinet-ascend is not installed, so no service can start: name one with --url")
    # Settings in the environment are for other services, except the cache, which all share.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ABINET_") or name == "ABINET_CACHE"
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_sigterm_as_exit())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="abinet-", dir=_short_folder()))
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        starter = stack.enter_context(ThreadPoolExecutor(1))
        command = [*module_command("abinet"), "serve", "--no-access-log", "--stop-with-stdin"]
        command += options if "--port" in options else ["--uds", os.path.join(folder, "socket"), *options]
        # In a thread, because a signal during Popen would leave a process that nobody ends. Only we hold the
        # pipe of its standard input. In a session of its own, it does not get Ctrl-C.
        starting = starter.submit(
            subprocess.Popen,
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        try:
            process = starting.result()
            address = _address(process, log, report)
            _wait_until_ready(address, process, log)
            yield address
        except Exception as error:
            if process.poll() is None:
                raise
            raise ValueError(_last_words(process, log)) from error
        finally:
            _stop(starting.result())


def _short_folder() -> str | None:
    """Where TMPDIR is too long for the path of a socket, which has 107 bytes, another one."""
    return "/tmp" if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_FOLDER else None


# Neither wait has a timeout, because a service that cannot start gives up by itself.


def _address(process: subprocess.Popen[bytes], log: IO[str], report: Report) -> str:
    """The address at which the service listens, once it says so. Raises ValueError if it has ended."""
    reported = False
    while process.poll() is None:
        told = _told(log)
        exporting, listening = _EXPORTING.search(told), _LISTENING.search(told)
        if exporting and not reported:
            report(exporting.group(1))
            reported = True
        if listening:
            return listening.group(1)
        time.sleep(POLL_S)
    raise ValueError(_last_words(process, log))


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: IO[str]) -> None:
    """Raises ValueError if the service has ended."""
    with connect(address, retry=Retry(attempts=1)) as client:
        while process.poll() is None:
            with contextlib.suppress(AbinetError):
                if client.health().is_ready:
                    return
            time.sleep(POLL_S)
    raise ValueError(_last_words(process, log))


def _last_words(process: subprocess.Popen[bytes], log: IO[str]) -> str:
    ended = f"the service ended with exit code {process.returncode}"
    last = (_told(log).strip().splitlines() or [ended])[-1]
    return last[len("abinet: ") :] if last.startswith("abinet: ") else last


def _told(log: IO[str]) -> str:
    # Not with our own file position, which the service shares.
    return os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Without a handler SIGTERM would end this process at once, without a stop in good order."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
