"""Engine time by batch, crops a second of a core of fronts and decoders, and what some traffic needs of each.

`--card N` takes devices that read N crops a second in place of this machine's.
"""

import argparse
import statistics

import numpy as np

from service.engines.bundle import Bundle
from service.engines.process import EngineProcess

from ..bodies import BATCH_ITEMS, crop_jpeg, form
from ..figures import Figure
from ..flags import add_engine, add_seconds
from ..processes import processor_seconds
from ..served import CLIENTS, NO_OP, engine_options, metrics, opened_bundle, serving
from ..wrk import run_wrk

LOAD = 0.7
"""How busy devices and cores should be at most: queues grow fast beyond."""
CARDS_A_HOST = 8


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_seconds(parser, 5)
    parser.add_argument(
        "--traffic",
        type=float,
        nargs="*",
        default=[1e3, 1e5, 1e6],
        help="crops a second (default %(default)s)",
    )
    parser.add_argument("--card", type=float, metavar="N", help="crops a second of a device")


def measure(arguments: argparse.Namespace) -> list[Figure]:
    bundle = opened_bundle(arguments)
    figures: list[Figure] = []
    if arguments.card is None:
        device, figures = measured_device(bundle, arguments)
    else:
        device = arguments.card
    figures.append(Figure(f"one device, {bundle.iterations} iterations", device, "crops/s"))
    for name, path, body in (
        ("single crops with detail", "/v1/read", (crop_jpeg(), "image/jpeg")),
        (f"batches of {BATCH_ITEMS}", "/v1/read/batch", form("images", [crop_jpeg()] * BATCH_ITEMS)),
    ):
        rates = crops_of_a_core(bundle, path, body, arguments.seconds)
        for role, rate in rates.items():
            figures.append(Figure(f"one core of {role}, {name}", rate, "crops/s"))
        for traffic in arguments.traffic:
            figures += needed(
                traffic, device, rates, len(body[0]) if path == "/v1/read" else len(crop_jpeg())
            )
    return figures


def measured_device(bundle: Bundle, arguments: argparse.Namespace) -> tuple[float, list[Figure]]:
    """Crops a second of this machine's engine at its best batch, and what each batch costs."""
    worker = EngineProcess(bundle, engine_options(arguments)[0], arguments.worker_python)
    try:
        worker.load()
        costs = {batch: engine_times(worker, bundle, batch) for batch in sorted(batches(bundle))}
    finally:
        worker.kill()
    figures = []
    for batch, (vision, refine) in costs.items():
        figures.append(Figure(f"vision, batch {batch}", 1e3 * vision, "ms"))
        figures.append(Figure(f"a refinement, batch {batch}", 1e3 * refine, "ms"))
    best = max(batch / (vision + bundle.iterations * refine) for batch, (vision, refine) in costs.items())
    return best, figures


def needed(traffic: float, device: float, rates: dict[str, float], crop_bytes: int) -> list[Figure]:
    """Of devices, hosts, cores and network, for so many crops a second."""
    devices = -(-traffic // (LOAD * device))
    figures = [
        Figure(f"  {traffic:,.0f} crops/s: devices", devices, ""),
        Figure(f"  {traffic:,.0f} crops/s: hosts of {CARDS_A_HOST}", -(-devices // CARDS_A_HOST), ""),
        Figure(f"  {traffic:,.0f} crops/s: network in", 8e-9 * traffic * crop_bytes, "Gbit/s"),
    ]
    for role, rate in rates.items():
        figures.append(Figure(f"  {traffic:,.0f} crops/s: cores of {role}", -(-traffic // (LOAD * rate)), ""))
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


def crops_of_a_core(bundle: Bundle, path: str, body: tuple[bytes, str], seconds: float) -> dict[str, float]:
    """By the processor time that fronts, image decoders and what moves tensors took for a crop."""
    # Few clients with batches: what is under way when they leave is decoded and not counted.
    clients = CLIENTS if path == "/v1/read" else 2
    with serving(bundle.folder, NO_OP) as url:
        run_wrk(f"{url}{path}", body[0], connections=clients, seconds=3, content_type=body[1])
        before, crops = processor_seconds(), metrics(url)["abinet_crops_total"]
        run_wrk(f"{url}{path}", body[0], connections=clients, seconds=seconds, content_type=body[1])
        after, crops = processor_seconds(), metrics(url)["abinet_crops_total"] - crops
    return {role: crops / (after[role] - before[role]) for role in after}
