"""Other servers: with our decoding and no model, or with our bundle, or with PP-OCRv6."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .bodies import crop_jpeg, form
from .load import wait_for_answer

_PROJECT = Path(__file__).resolve().parents[2]


class Rival(NamedTuple):
    """A server that runs: its process, and where and what to post to it."""

    pid: int
    url: str
    body: bytes
    content_type: str


@contextlib.contextmanager
def rivals(folder: str, names: list[str], workers: int, engine: str = "none") -> Iterator[dict[str, Rival]]:
    """Rivals by name, running. mosec has a worker for each of our fronts; `engine` none is no model."""
    crop = crop_jpeg()
    starts: dict[str, list[str]] = {
        "mosec": ["rival_mosec", folder, engine, str(workers), "--port"],
        "litserve": ["rival_litserve", folder, engine],
        "rapidocr-tiny": ["rival_rapidocr", "tiny"],
        "rapidocr-small": ["rival_rapidocr", "small"],
    }
    posts = {
        "mosec": ("/inference", crop, "image/jpeg"),
        "litserve": ("/predict", *form("image", [crop])),
        "rapidocr-tiny": ("/read", *form("image", [crop])),
        "rapidocr-small": ("/read", *form("image", [crop])),
    }
    running = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            path, body, content_type = posts[name]
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            module, *arguments = starts[name]
            command = [sys.executable, "-m", f"{__package__}.{module}", *arguments, str(port)]
            pid = stack.enter_context(background(command))
            url = f"http://127.0.0.1:{port}{path}"
            wait_for_answer(url, body, content_type)
            running[name] = Rival(pid, url, body, content_type)
        yield running


@contextlib.contextmanager
def background(command: list[str]) -> Iterator[int]:
    """A process, by its id, that is ended with all that it has started."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_PROJECT), str(_PROJECT / "benchmarks")])}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
