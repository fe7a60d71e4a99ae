"""Seconds from the end of a front to the next result, known to 0.2 s: the model stays loaded."""

import argparse
import os
import signal
import statistics
import time

from ..bodies import crop_jpeg
from ..figures import Figure, at_most
from ..flags import add_engine, add_rounds
from ..load import wait_for_answer
from ..processes import front
from ..served import engine_flags, opened_bundle, serving


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_rounds(parser)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    taken = []
    with serving(opened_bundle(arguments).folder, engine_flags(arguments)) as url:
        for _ in range(arguments.rounds):
            os.kill(front(), signal.SIGKILL)
            started = time.perf_counter()
            time.sleep(0.05)  # until it is gone
            wait_for_answer(f"{url}/v1/read", crop_jpeg(), "image/jpeg")
            taken.append(time.perf_counter() - started)
    return [at_most(f"front killed to result, median of {len(taken)}", statistics.median(taken), "s", 2)]
