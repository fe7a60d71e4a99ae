"""An engine that takes no time: what the service itself can do, beside mosec and LitServe."""

import argparse
import statistics

from ..bodies import BATCH_ITEMS, crop_jpeg, form, json_batch
from ..figures import Figure, at_least
from ..flags import add_fronts, add_rounds, add_seconds
from ..rivals import rivals
from ..served import CLIENTS, NO_OP, opened_bundle, serving
from ..wrk import Load, run_wrk


def configure(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser, 5)
    add_rounds(parser)
    add_fronts(parser)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="connections")
    parser.add_argument("--rivals", nargs="*", default=["mosec", "litserve"])


def measure(arguments: argparse.Namespace) -> list[Figure]:
    crop, folder = crop_jpeg(), opened_bundle(arguments).folder
    loads: dict[str, list[Load]] = {}
    flags = [*NO_OP, "--fronts", str(arguments.fronts)]

    def load_of(name: str, url: str, body: bytes, content_type: str = "image/jpeg") -> None:
        load = run_wrk(
            url, body, connections=arguments.clients, seconds=arguments.seconds, content_type=content_type
        )
        loads.setdefault(name, []).append(load)

    with serving(folder, flags) as ours, rivals(folder, arguments.rivals, arguments.fronts) as others:
        for _ in range(arguments.rounds):
            load_of("single", f"{ours}/v1/read", crop)
            load_of("text", f"{ours}/v1/read?detail=false", crop)
            load_of("lean", f"{ours}/v1/read?iterations=0&detail=false", crop)
            load_of("form", f"{ours}/v1/read/batch", *form("images", [crop] * BATCH_ITEMS))
            load_of("json", f"{ours}/v1/read/batch", *json_batch([crop] * BATCH_ITEMS))
            for name, rival in others.items():
                load_of(name, rival.url, rival.body, rival.content_type)
    rates = {name: statistics.median(load.per_second for load in of) for name, of in loads.items()}
    figures = [
        at_least("single crops, all iterations and details", rates["single"], "crops/s", 3000),
        Figure("single crops, all iterations, the text alone", rates["text"], "crops/s"),
        Figure("single crops, vision's text alone", rates["lean"], "crops/s"),
        at_least(f"batches of {BATCH_ITEMS}, form", rates["form"] * BATCH_ITEMS, "crops/s", 8000),
        Figure(f"batches of {BATCH_ITEMS}, JSON", rates["json"] * BATCH_ITEMS, "crops/s"),
    ]
    for name in others:
        figures.append(Figure(f"{name}, single crops", rates[name], "crops/s"))
        figures.append(at_least(f"ours over {name}", rates["single"] / rates[name], "", 1))
        figures.append(Figure(f"ours over {name}, the text alone as there", rates["text"] / rates[name], ""))
    return figures
