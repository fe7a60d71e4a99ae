"""A tiny random network, its bundles, and real services around them, for the tests of the service."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import httpx
import numpy as np

from service.engines.process import module_command
from tests.support.empty_bundle import empty_bundle

ROOT = Path(__file__).resolve().parents[2]

_SAVE_TINY = """
import sys, mindspore
from models.abinet.abinet import ABINet
from models.abinet.config import NetworkConfig
from models.checkpoints.checkpoint import Sidecar, save_checkpoint
mindspore.set_seed(3)
config = NetworkConfig(
    d_model=16, heads=2, d_inner=32, vision_layers=1, language_layers=1, resnet_channels=(4, 4, 8, 8, 16),
    resnet_blocks=(1, 1, 1, 1, 1), attention_channels=4,
)
save_checkpoint(ABINet(config), sys.argv[1], Sidecar(config))
"""


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="abinet-tests-")


@cache
def tiny_checkpoint() -> Path:
    """A checkpoint under the bundled model's name, alone in its folder."""
    path = Path(_scratch().name) / "zoo" / "abinet_small_en.ckpt"
    subprocess.run([sys.executable, "-c", _SAVE_TINY, str(path)], check=True, cwd=ROOT, capture_output=True)
    return path


@cache
def tiny_bundle(python: str = sys.executable) -> Path:
    """The checkpoint's bundle at batch sizes 1 and 4, written by this interpreter's MindSpore."""
    checkpoint = tiny_checkpoint()
    bundle = Path(tempfile.mkdtemp(dir=_scratch().name)) / "tiny"
    command = [
        *module_command(python, "export"),
        str(checkpoint),
        "--output",
        str(bundle),
        "--batch-sizes",
        "4",
    ]
    subprocess.run(command, check=True, cwd=_scratch().name, capture_output=True)
    return bundle


def crop(seed: int = 0) -> np.ndarray:
    """A colourful BGR image that no two seeds share."""
    return np.random.default_rng(seed).integers(0, 256, (24, 90, 3), np.uint8)


def encoded(image: np.ndarray, extension: str = ".png") -> bytes:
    """The image as a file's bytes."""
    return cv2.imencode(extension, image)[1].tobytes()


class ServiceProcess:
    """`abinet serve` as a user starts it, on a free port; `within` is a command that runs it.

    With one engine worker, unless the arguments name `--devices`: most tests ask what happens to the worker.
    """

    def __init__(
        self, *arguments: str, environment: dict[str, str] | None = None, within: Sequence[str] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "service", "serve", "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "ABINET_DEVICES": "cpu", **(environment or {})},
        )
        self.lines: list[str] = []
        self._heard = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        self.client = httpx.Client(base_url=self._match(r"listening on (\S+)").group(1), timeout=60)

    def worker_pids(self, count: int = 1) -> list[int]:
        """Process ids of the first `count` engine workers, once that many have started."""
        self._wait(lambda: len(self._workers()) >= count)
        return self._workers()

    def wait_until_ready(self) -> None:
        self._match(r"is ready after")

    def read(self, image: np.ndarray | None = None, **options: str | int | bool) -> httpx.Response:
        return self.client.post(
            "/v1/read", content=encoded(crop() if image is None else image), params=options
        )

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def _workers(self) -> list[int]:
        return [int(found) for found in re.findall(r"engine worker (\d+) runs", "".join(self.lines))]

    def _match(self, pattern: str) -> re.Match[str]:
        self._wait(lambda: re.search(pattern, "".join(self.lines)) is not None)
        found = re.search(pattern, "".join(self.lines))
        assert found
        return found

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._heard:
            self._heard.wait_for(lambda: condition() or self.process.poll() is not None, 120)
        assert condition(), "".join(self.lines)

    def _listen(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._heard:
                self.lines.append(line)
                self._heard.notify_all()
        self.process.wait()
        with self._heard:
            self._heard.notify_all()


@cache
def shared_service() -> ServiceProcess:
    """A ready service with the tiny bundle, for every test that leaves it as it was."""
    running = ServiceProcess("--bundle", str(tiny_bundle()))
    atexit.register(running.process.kill)
    running.wait_until_ready()
    return running


@contextlib.contextmanager
def service(
    *arguments: str, environment: dict[str, str] | None = None, within: Sequence[str] = ()
) -> Iterator[ServiceProcess]:
    """A service that has become ready, and is gone afterwards."""
    running = ServiceProcess(*arguments, environment=environment, within=within)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        running.client.close()


@contextlib.contextmanager
def simulated_service(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[ServiceProcess]:
    """A ready service that runs no network: its simulated engine reads one word in every crop."""
    with tempfile.TemporaryDirectory(prefix="abinet-tests-") as folder:
        simulated = ("--bundle", empty_bundle(Path(folder)).folder, "--engine", "simulated")
        with service(*simulated, *arguments, environment=environment) as running:
            yield running


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem document."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code
    assert response.json()["request_id"] == response.headers["x-request-id"]
    return response.status_code, response.json()["type"].rpartition(":")[2]
