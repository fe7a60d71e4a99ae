"""`abinet read --ray`: a corpus that one machine cannot read in time, on a Ray cluster."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import get_args

from abinet_client.batch.rows import FORMATS
from service.extras import remedy
from service.on_ray.arguments import read_arguments
from service.types import ReadOptions, Turns

PART_FILES = 1000
SOME_FAILED = 1
_SETTINGS = ("config", "bundle", "engine", "worker_python", "devices")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="folder, image file, or s3://, gs://, ...")
    # Leads here from `abinet read`.
    parser.add_argument("--ray", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--address", help="address of the cluster (default: $RAY_ADDRESS, else this machine)")
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="new folder or URI for the parts"
    )
    parser.add_argument("--format", choices=FORMATS, default="csv", help="format of the parts (default: csv)")
    parser.add_argument(
        "--part-files",
        type=_whole(1),
        metavar="N",
        default=PART_FILES,
        help=f"files in a part; a part is read again if its machine dies (default: {PART_FILES})",
    )
    parser.add_argument(
        "--iterations", type=_whole(0), metavar="N", help="refinements (default: the model's own)"
    )
    parser.add_argument("--early-stop", action="store_true", help="refine only while something changes")
    parser.add_argument(
        "--turns",
        choices=get_args(Turns),
        help="ways up: auto turns tall crops, all every crop (default: auto)",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress bars (default: on a terminal)",
    )
    actors = parser.add_argument_group("actors, each with a model of its own")
    actors.add_argument("--replicas", metavar="N", help="number of actors (default: 1)")
    actors.add_argument("--max-replicas", metavar="N", help="most actors, if the cluster has room")
    actors.add_argument("--cpus", metavar="N", help="cores that Ray sets aside for each (default: 1)")
    model = parser.add_argument_group("what each of them runs")
    model.add_argument("--config", metavar="TOML", help="file with settings of `abinet serve`")
    model.add_argument("--bundle", metavar="DIR", help="path on every machine (default: the bundled model)")
    model.add_argument("--engine", help="mindspore, lite or simulated")
    model.add_argument("--worker-python", metavar="PYTHON", help="interpreter of the engine worker")
    model.add_argument("--devices", help="cpu, or ascend: an NPU that Ray chooses")


def run(args: argparse.Namespace) -> int:
    """Reads; returns the exit code: 0, or 1 if a row has an error. Raises ValueError and OSError."""
    # Under `uv run` Ray would pack the folder it is called in, and start every worker with uv as well.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray warns for every pool of actors that their arguments may be lost; this process keeps them.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray

        from service.commands.read_on_ray.corpus import read
    except ModuleNotFoundError as error:
        raise ValueError(remedy(error.name or "ray")) from None
    names = [*_SETTINGS, "replicas", "max_replicas", "cpus"]
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    arguments = read_arguments(given)
    options = ReadOptions(iterations=args.iterations, early_stop=args.early_stop, turns=args.turns)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.init(address=args.address, log_to_driver=False, logging_level="ERROR")
    try:
        summary = read(
            args.inputs,
            args.output,
            arguments,
            format=args.format,
            part_files=args.part_files,
            options=options,
            progress=sys.stderr.isatty() if args.progress is None else args.progress,
        )
    finally:
        ray.shutdown()
    rate = summary.files / summary.seconds
    print(
        f"{summary.files:,} files in {summary.seconds:,.1f} s ({rate:,.0f} files/s, start included); "
        f"{summary.failed:,} could not be read; {summary.parts:,} parts in {args.output}",
        file=sys.stderr,
    )
    return SOME_FAILED if summary.failed else 0


def _whole(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least}")
        return int(text)

    return number
