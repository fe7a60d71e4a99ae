"""The services that are measured: started, and asked what they have done."""

import argparse
import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx

from abinet_client import ModelInfo
from abinet_client.connect import connect
from abinet_client.local_service import local_service
from service.bundled import bundled_model
from service.engines.bundle import Bundle
from service.engines.cores import computing_file
from service.engines.engine import EngineOptions
from service.engines.process import EngineProcess
from service.settings.model import Settings

from .bodies import BATCH_ITEMS, crop_jpeg

CLIENTS = 32
# Room for a batch of each of many clients, also if one front has them all.
ROOM = ["--max-queue", str(8 * CLIENTS * BATCH_ITEMS)]
NO_OP = ["--engine", "simulated", "--simulated-ms", "0", *ROOM]
_SLOW_MS, _SLOW_MS_PER_CROP = 5.0, 2.0
_COMPILATION_S = 60.0
_LOOK_S = 0.2
SLOW = [
    *("--engine", "simulated", "--simulated-ms", str(_SLOW_MS)),
    *("--simulated-ms-per-crop", str(_SLOW_MS_PER_CROP)),
]
"""An engine as slow as a real one on two cores."""


def opened_bundle(arguments: argparse.Namespace) -> Bundle:
    return Bundle(str(arguments.bundle or bundled_model(arguments.worker_python)))


def engine_options(arguments: argparse.Namespace) -> tuple[EngineOptions, ...]:
    """Those of the workers that the service has by default."""
    return Settings(engine=arguments.engine, simulated_ms=arguments.simulated_ms).engine_options()


@contextlib.contextmanager
def bare_workers(arguments: argparse.Namespace) -> Iterator[list[EngineProcess]]:
    """The engine workers that the service has by default, loaded and without a service."""
    bundle, workers = opened_bundle(arguments), []
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(computing_file())
        for options in engine_options(arguments):
            workers.append(EngineProcess(bundle, options, arguments.worker_python, computing=file))
            stack.callback(workers[-1].kill)
            workers[-1].load()
        yield workers


@contextlib.contextmanager
def serving(folder: str, flags: list[str]) -> Iterator[str]:
    """The URL of a service of our own, over TCP as its clients elsewhere have it."""
    with local_service(["--bundle", folder, "--port", "0", *flags]) as url:
        wait_for_batch_sizes(url)
        yield url


def wait_for_batch_sizes(url: str) -> None:
    """Returns once a service has compiled all of its batch sizes: on a CPU it is ready before."""
    end = time.monotonic() + _COMPILATION_S
    with connect(url) as client:
        while not _has_all_sizes(client.model()):
            if time.monotonic() > end:
                raise ValueError(f"the service has not compiled all batch sizes in {_COMPILATION_S:g} s")
            list(client.read_many([crop_jpeg()] * 64))
            time.sleep(_LOOK_S)


def _has_all_sizes(model: ModelInfo) -> bool:
    """Whether every worker serves with all of them."""
    sizes = {graph["batch"] for graph in model.manifest["graphs"]}
    return len(model.batch_ms) == len(model.devices) and all(
        set(costs) == sizes for device in model.batch_ms for costs in device.values()
    )


def engine_flags(arguments: argparse.Namespace) -> list[str]:
    flags = ["--engine", arguments.engine, "--worker-python", arguments.worker_python]
    return [*flags, "--simulated-ms", str(arguments.simulated_ms)]


def slow_batch_ms(bundle: Bundle) -> float:
    """How long `SLOW` takes for the largest batch, with all refinements: 148 ms for 16."""
    largest = max(graph.batch for graph in bundle.graphs)
    return (1 + bundle.iterations) * (_SLOW_MS + _SLOW_MS_PER_CROP * largest)


def metrics(url: str) -> dict[str, float]:
    """Prometheus' samples by name and labels, as they are written."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def engine_seconds(url: str) -> float:
    seen = metrics(url)
    return sum(value for name, value in seen.items() if name.startswith("abinet_batch_seconds_sum"))


def answers(seen: dict[str, float]) -> dict[str, float]:
    """Answers of /v1/read by status."""
    pattern = re.compile(r'abinet_requests_total\{.*?code="(\d+)".*\}')
    return {
        found.group(1): value
        for name, value in seen.items()
        if 'route="/v1/read"' in name and (found := pattern.fullmatch(name))
    }


def latency_report(url: str) -> dict[str, Any]:
    window: dict[str, Any] = httpx.get(f"{url}/v1/latency", trust_env=False).json()["windows"]["5m"]
    return window
