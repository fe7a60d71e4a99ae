"""Load from other processes: of our own generator, and of whatever waits until something answers."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from .bodies import crop_jpeg

SETTLE_S = 2.0
"""For wrk to have all its requests under way, and for those to be read that it leaves when it ends."""
_PROCESS = Path(__file__).with_name("load_process.py")


def load_generator(*arguments: str) -> dict[str, Any]:
    """What a process of its own measured."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as image:
        image.write(crop_jpeg())
        image.flush()
        command = [sys.executable, str(_PROCESS), *arguments, "--image", image.name]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    result: dict[str, Any] = json.loads(told)
    return result


def wait_for_answer(url: str, body: bytes, content_type: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(url, content=body, headers={"Content-Type": content_type}, trust_env=False)
            if answer.status_code == 200:
                return
        if time.monotonic() > deadline:
            raise ValueError(f"{url}: no answer within a minute")
        time.sleep(0.2)
