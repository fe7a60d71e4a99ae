"""A service of our own around a bundle, for as long as an evaluation takes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import IO

import httpx

POLL_S = 0.2
STOP_S = 60.0


@contextlib.contextmanager
def private_service(bundle: Path, options: Sequence[str]) -> Iterator[str]:
    """The URL of ``abinet serve --bundle BUNDLE OPTIONS...`` on a free loopback port, once it is ready.

    The service ends with the block, on Ctrl-C and SIGTERM too.

    Raises:
        ValueError: it cannot serve the bundle; with its own words.
    """
    port = _free_port()
    command = [sys.executable, "-m", "service", "serve", "--no-access-log", "--bundle", str(bundle)]
    command += ["--port", str(port), *options]
    # The settings of some other service on this machine are not meant for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ABINET_")}
    with (
        _sigterm_as_exit(),
        tempfile.TemporaryFile("w+") as log,
        ThreadPoolExecutor(1) as starter,
    ):
        # In a thread: a signal that came in the midst of Popen would leave a process that nobody knows.
        starting = starter.submit(
            subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(starting.result(), url, log)
            yield url
        finally:
            _stop(starting.result())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: IO[str]) -> None:
    # How long a start may take is the service's own business: it gives up by itself.
    with httpx.Client(base_url=url, trust_env=False) as client:
        while process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if client.get("/health/ready").status_code == 200:
                    return
            time.sleep(POLL_S)
    log.seek(0)
    last = (log.read().strip().splitlines() or [f"the service ended with exit code {process.returncode}"])[-1]
    raise ValueError(last.removeprefix("abinet: "))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Without a handler SIGTERM would end this process at once and leave the service behind."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
