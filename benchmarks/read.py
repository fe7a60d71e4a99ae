"""Measures `abinet read` against the service's own batch endpoint, in turns, on one service.

The crops are one JPEG of about 5 kB in many files. Both send batches of as many crops, as many requests at
a time, and ask for no detail.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from serving.bodies import crop_jpeg, form
from serving.figures import Figure, at_least, print_table
from serving.served import opened_bundle, serving
from serving.wrk import run_wrk

BATCH = 64
REQUESTS = 3
"""Both as `abinet read` has them."""
FOLDER = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="default: the bundled model")
    parser.add_argument("--worker-python", default=sys.executable)
    parser.add_argument("--engine", default="simulated", choices=("simulated", "mindspore", "lite"))
    parser.add_argument("--simulated-ms", type=float, default=0.0, help="a call (default %(default)s)")
    parser.add_argument("--crops", type=int, default=20_000, help="files (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of wrk (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default %(default)s)")
    arguments = parser.parse_args()
    try:
        print_table(measured(arguments))
    except (ValueError, OSError) as error:
        print(f"read: {error}", file=sys.stderr)
        return 2
    return 0


def measured(arguments: argparse.Namespace) -> list[Figure]:
    body, content_type = form("images", [crop_jpeg()] * BATCH)
    flags = ["--engine", arguments.engine, "--worker-python", arguments.worker_python]
    flags += ["--simulated-ms", str(arguments.simulated_ms)]
    command_rates: list[Rates] = []
    endpoint_rates = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(opened_bundle(arguments).folder, flags) as url,
    ):
        write_crops(Path(folder), arguments.crops)
        for _ in range(arguments.rounds):
            load = run_wrk(
                f"{url}/v1/read/batch?detail=false",
                body,
                connections=REQUESTS,
                seconds=arguments.seconds,
                content_type=content_type,
            )
            endpoint_rates.append(load.per_second * BATCH)
            command_rates.append(read_rates(url, folder, arguments.crops))
    reading, whole = (statistics.median(rates) for rates in zip(*command_rates, strict=True))
    endpoint = statistics.median(endpoint_rates)
    ratios = [ours.reading / theirs for ours, theirs in zip(command_rates, endpoint_rates, strict=True)]
    return [
        Figure("batch endpoint, wrk", endpoint, "crops/s"),
        Figure("abinet read", reading, "crops/s"),
        Figure("abinet read, its start included", whole, "crops/s"),
        at_least("abinet read over the endpoint, median of turns", statistics.median(ratios), "", 0.9),
    ]


def write_crops(folder: Path, count: int) -> None:
    crop = crop_jpeg()
    for number in range(count):
        path = folder / f"{number // FOLDER:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(crop)


class Rates(NamedTuple):
    """Crops a second: while it reads, by the command's own clock, and with its start and its end."""

    reading: float
    whole: float


def read_rates(url: str, folder: str, crops: int) -> Rates:
    output = Path(folder) / "rows.csv"
    command = [sys.executable, "-m", "service", "read", folder, "--url", url, "--output", str(output)]
    started = time.perf_counter()
    told = subprocess.run(command, capture_output=True, text=True).stderr
    seconds = time.perf_counter() - started
    output.unlink(missing_ok=True)
    own = re.search(rf"{crops:,} crops in ([\d.,]+) s .*; 0 could not be read", told)
    if own is None:
        raise ValueError(f"abinet read failed: {told.strip()}")
    return Rates(crops / float(own[1].replace(",", "")), crops / seconds)


if __name__ == "__main__":
    sys.exit(main())
