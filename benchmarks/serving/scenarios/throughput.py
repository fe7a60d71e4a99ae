"""Crops a second through HTTP over those of the same engine workers without a service, in turns.

The bare workers compute all at once, each at its largest batch.
The figures are medians, that of the ratio over the turns: the machine's speed changes between these.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from service.engines.bundle import Bundle
from service.engines.process import EngineProcess

from ..bodies import crop_jpeg
from ..figures import Figure, at_least
from ..flags import add_engine, add_rounds, add_seconds
from ..load import SETTLE_S
from ..served import (
    CLIENTS,
    bare_workers,
    engine_flags,
    engine_options,
    latency_report,
    metrics,
    opened_bundle,
    serving,
)
from ..wrk import run_wrk


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_seconds(parser)
    add_rounds(parser, 5)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    bundle = opened_bundle(arguments)
    batch = max(graph.batch for graph in bundle.graphs)
    bare_rates, http_rates, clients = [], [], CLIENTS * len(engine_options(arguments))
    with bare_workers(arguments) as workers, serving(bundle.folder, engine_flags(arguments)) as url:
        for _ in range(arguments.rounds):
            bare_rates.append(bare_rate(workers, bundle, batch, arguments.seconds))
            http_rates.append(steady_rate(url, clients, arguments.seconds))
        fill = latency_report(url)["batches"]["vision"]["fill"]
    bare = f"{len(workers)} bare {arguments.engine} workers, batch {batch}"
    ratio = statistics.median(http / own for http, own in zip(http_rates, bare_rates, strict=True))
    return [
        Figure(bare, statistics.median(bare_rates), "crops/s"),
        Figure(f"through HTTP, {clients} clients", statistics.median(http_rates), "crops/s"),
        Figure("rows of the batches that held a crop", fill, ""),
        at_least("HTTP over bare", ratio, "", 0.95),
    ]


def steady_rate(url: str, clients: int, seconds: float) -> float:
    """Crops a second by the service's own count, while every client has a request under way."""
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            run_wrk, f"{url}/v1/read", crop_jpeg(), connections=clients, seconds=seconds + 2 * SETTLE_S
        )
        time.sleep(SETTLE_S)
        started, before = time.perf_counter(), metrics(url)["abinet_crops_total"]
        time.sleep(seconds)
        after, ended = metrics(url)["abinet_crops_total"], time.perf_counter()
        load.result()
    return (after - before) / (ended - started)


def bare_rate(workers: Sequence[EngineProcess], bundle: Bundle, batch: int, seconds: float) -> float:
    """Crops a second of all workers together."""
    with ThreadPoolExecutor(len(workers)) as pool:
        return sum(pool.map(lambda worker: bare_engine(worker, bundle, batch, seconds), workers))


def bare_engine(worker: EngineProcess, bundle: Bundle, batch: int, seconds: float) -> float:
    """Crops a second of vision and all refinements by the engine's own clock, without any transport."""
    images = np.zeros((batch, bundle.channels, bundle.height, bundle.width), np.float32)
    end, own, crops = time.perf_counter() + seconds, 0.0, 0
    while time.perf_counter() < end:
        own += worker.run("read", [images], bundle.iterations).seconds
        crops += batch
    return crops / own
