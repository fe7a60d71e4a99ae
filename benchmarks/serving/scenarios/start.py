"""Seconds from the command to readiness, the bundle being there; known to 0.05 s."""

import argparse
import statistics
import time

from abinet_client.local_service import local_service

from ..figures import Figure, at_most
from ..flags import add_engine, add_rounds
from ..served import engine_flags, opened_bundle


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_rounds(parser)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    folder = opened_bundle(arguments).folder
    seconds = []
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        with local_service(["--bundle", folder, "--port", "0", *engine_flags(arguments)]):
            seconds.append(time.perf_counter() - started)
    return [at_most(f"start to ready, median of {len(seconds)}", statistics.median(seconds), "s", 4)]
