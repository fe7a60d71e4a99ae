"""Engine time by batch, crops a second of a front's core, and how many of both some traffic needs."""

import argparse
import statistics

import numpy as np

from service.engines.bundle import Bundle
from service.engines.process import EngineProcess

from ..bodies import BATCH_ITEMS, crop_jpeg, form
from ..figures import Figure
from ..flags import add_engine, add_seconds
from ..served import CLIENTS, NO_OP, engine_options, metrics, opened_bundle, serving
from ..wrk import run_wrk

LOAD = 0.7
"""How busy devices and fronts should be at most: queues grow fast beyond."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_seconds(parser, 5)
    parser.add_argument(
        "--traffic", type=float, nargs="*", default=[100.0, 1000.0, 10_000.0], help="crops a second"
    )


def measure(arguments: argparse.Namespace) -> list[Figure]:
    bundle = opened_bundle(arguments)
    worker = EngineProcess(bundle, engine_options(arguments), arguments.worker_python)
    try:
        worker.load()
        costs = {batch: engine_times(worker, bundle, batch) for batch in sorted(batches(bundle))}
    finally:
        worker.kill()
    figures = []
    for batch, (vision, refine) in costs.items():
        figures.append(Figure(f"vision, batch {batch}", 1e3 * vision, "ms"))
        figures.append(Figure(f"a refinement, batch {batch}", 1e3 * refine, "ms"))
    device = max(batch / (vision + bundle.iterations * refine) for batch, (vision, refine) in costs.items())
    figures.append(Figure(f"one device, {bundle.iterations} iterations", device, "crops/s"))
    for name, path, body in (
        ("single crops with detail", "/v1/read", (crop_jpeg(), "image/jpeg")),
        (f"batches of {BATCH_ITEMS}", "/v1/read/batch", form("images", [crop_jpeg()] * BATCH_ITEMS)),
    ):
        front = crops_of_a_core(bundle, path, body, arguments.seconds)
        figures.append(Figure(f"one core of a front, {name}", front, "crops/s"))
        for traffic in arguments.traffic:
            cards = -(-traffic // (LOAD * device))
            cores = -(-traffic // (LOAD * front))
            figures.append(Figure(f"  {traffic:,.0f} crops/s: devices", cards, ""))
            figures.append(Figure(f"  {traffic:,.0f} crops/s: cores for fronts", cores, ""))
    return figures


def batches(bundle: Bundle) -> set[int]:
    return {graph.batch for graph in bundle.graphs_of("vision")}


def engine_times(worker: EngineProcess, bundle: Bundle, batch: int) -> tuple[float, float]:
    """Seconds of vision and of one refinement, medians."""
    images = np.zeros((batch, bundle.channels, bundle.height, bundle.width), np.float32)
    vision, refine = [], []
    for _ in range(20):
        answer = worker.run("vision", [images])
        vision.append(answer.seconds)
        refine.append(worker.run("refine", answer.tensors).seconds)
    return statistics.median(vision), statistics.median(refine)


def crops_of_a_core(bundle: Bundle, path: str, body: tuple[bytes, str], seconds: float) -> float:
    """By the processor time that a front itself took for a crop."""
    with serving(bundle.folder, NO_OP) as url:
        before = metrics(url)
        run_wrk(f"{url}{path}", body[0], connections=CLIENTS, seconds=seconds, content_type=body[1])
        after = metrics(url)
    took = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    return (after["abinet_crops_total"] - before["abinet_crops_total"]) / took
