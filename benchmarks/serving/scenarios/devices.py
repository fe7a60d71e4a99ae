"""Throughput of 1 and of 4 simulated NPUs, in batch requests, and what no NPU would hold up."""

import argparse
from pathlib import Path

from ..bodies import BATCH_ITEMS, crop_jpeg, form
from ..figures import Figure, at_least
from ..flags import add_fronts, add_seconds
from ..served import CLIENTS, ROOM, opened_bundle, serving
from ..wrk import run_wrk


def configure(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser, 5)
    add_fronts(parser)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    folder, (body, content_type) = (
        Path(opened_bundle(arguments).folder),
        form("images", [crop_jpeg()] * BATCH_ITEMS),
    )
    flags = ["--engine", "simulated", *ROOM, "--fronts", str(arguments.fronts)]

    def rate(milliseconds: float, count: int) -> float:
        options = ["--simulated-ms", str(milliseconds), "--devices", ",".join(["cpu"] * count)]
        with serving(str(folder), [*flags, *options]) as url:
            load = run_wrk(
                f"{url}/v1/read/batch",
                body,
                connections=CLIENTS,
                seconds=arguments.seconds,
                content_type=content_type,
            )
        return load.per_second * BATCH_ITEMS

    figures = [Figure("ceiling: a call takes no time", rate(0, 1), "crops/s")]
    for milliseconds in (2, 8):
        one, four = rate(milliseconds, 1), rate(milliseconds, 4)
        figures += [
            Figure(f"1 NPU, {milliseconds} ms a call", one, "crops/s"),
            Figure(f"4 NPUs, {milliseconds} ms a call", four, "crops/s"),
            at_least(f"4 NPUs over 1, {milliseconds} ms a call", four / one, "", 3.5),
        ]
    return figures
