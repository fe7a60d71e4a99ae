"""Answers within their deadline at twice the capacity, over the capacity, for several deadlines.

The engine is simulated and as slow as a real one on two cores: a batch of 16 takes 148 ms. A service time
is that.
"""

import argparse
import time

from ..bodies import crop_jpeg
from ..figures import Figure, at_least
from ..flags import add_seconds
from ..load import SETTLE_S, load_generator
from ..served import SLOW, opened_bundle, serving, slow_batch_ms
from ..wrk import run_wrk


def configure(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    bundle = opened_bundle(arguments)
    largest, batch_ms = max(graph.batch for graph in bundle.graphs), slow_batch_ms(bundle)
    with serving(bundle.folder, SLOW) as url:
        rate = run_wrk(f"{url}/v1/read", crop_jpeg(), connections=4 * largest, seconds=5).per_second
        figures = [Figure("capacity", rate, "crops/s"), Figure("service time", batch_ms, "ms")]
        for times in (2, 3, 4, 8, 16):
            time.sleep(SETTLE_S)
            deadline = ["--deadline-ms", str(int(times * batch_ms)), "--every", "1"]
            load = ["--seconds", str(arguments.seconds), "--rate", str(2 * rate)]
            told = load_generator("overload", url, *load, *deadline)
            share = told["in_time"] / told["seconds"] / rate
            name = f"in time over capacity, deadline of {times} service times"
            figures.append(at_least(name, share, "", 0.9) if times >= 4 else Figure(name, share, ""))
            refused = told["codes"].get("429", 0) / told["sent"]
            figures.append(Figure("  refused at once, of all", refused, ""))
    return figures
