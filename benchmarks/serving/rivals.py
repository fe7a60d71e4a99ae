"""Other servers, with our decoding and no model."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .bodies import crop_jpeg, form
from .load import wait_for_answer

HERE = Path(__file__).resolve().parent
_PROJECT = HERE.parents[1]


@contextlib.contextmanager
def rivals(folder: str, names: list[str], workers: int) -> Iterator[dict[str, tuple[str, bytes, str]]]:
    """Rivals by name, running: where and what to post to them. mosec has a worker for each of our fronts."""
    crop = crop_jpeg()
    starts: dict[str, Callable[[str], list[str]]] = {
        "mosec": lambda port: [str(HERE / "rival_mosec.py"), folder, str(workers), "--port", port],
        "litserve": lambda port: [str(HERE / "rival_litserve.py"), folder, port],
    }
    posts = {"mosec": ("/inference", crop, "image/jpeg"), "litserve": ("/predict", *form("image", [crop]))}
    running = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            path, body, content_type = posts[name]
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            stack.enter_context(background([sys.executable, *starts[name](str(port))]))
            url = f"http://127.0.0.1:{port}{path}"
            wait_for_answer(url, body, content_type)
            running[name] = (url, body, content_type)
        yield running


@contextlib.contextmanager
def background(command: list[str]) -> Iterator[None]:
    """A process that is ended with all that it has started."""
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT)}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
