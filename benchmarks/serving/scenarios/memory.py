"""The front's resident memory over many requests, the first tenth as a warm-up."""

import argparse

from ..bodies import crop_jpeg
from ..figures import Figure, at_most
from ..served import CLIENTS, NO_OP, metrics, opened_bundle, serving
from ..wrk import run_wrk


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=100_000)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    sizes: list[float] = []
    with serving(opened_bundle(arguments).folder, NO_OP) as url:
        done = 0.0
        while done < arguments.requests:
            run_wrk(f"{url}/v1/read", crop_jpeg(), connections=CLIENTS, seconds=2)
            seen = metrics(url)
            done = seen["abinet_crops_total"]
            if done >= arguments.requests / 10:
                sizes.append(seen["process_resident_memory_bytes"] / 2**20)
    return [
        Figure("requests", done, ""),
        Figure("resident after the warm-up", sizes[0], "MiB"),
        Figure("resident at the end", sizes[-1], "MiB"),
        at_most("growth", sizes[-1] - sizes[0], "MiB", 5),
    ]
