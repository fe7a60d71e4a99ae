"""Twice as many requests as can be served: each must get a result or a clear 429 or 504."""

import argparse
import time

import httpx

from ..bodies import crop_jpeg
from ..figures import Figure, at_least, at_most
from ..flags import add_engine, add_seconds
from ..load import SETTLE_S, load_generator
from ..served import CLIENTS, answers, engine_flags, metrics, opened_bundle, serving
from ..wrk import run_wrk


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser, "simulated")
    add_seconds(parser, 600)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    flags = engine_flags(arguments)
    with serving(opened_bundle(arguments).folder, flags) as url:
        load = run_wrk(f"{url}/v1/read", crop_jpeg(), connections=2 * CLIENTS, seconds=5)
        time.sleep(SETTLE_S)
        before = metrics(url)
        rate = 2 * load.per_second
        told = load_generator(
            "overload", url, "--seconds", str(arguments.seconds), "--rate", str(rate), "--deadline-ms", "300"
        )
        after = metrics(url)
        alive = httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
    codes = {code: told["codes"].get(code, 0) for code in ("200", "429", "504")}
    counted = sum(answers(after).values()) - sum(answers(before).values())
    return [
        Figure("capacity", load.per_second, "crops/s"),
        Figure("offered", told["offered_per_second"], "requests/s"),
        Figure("sent", told["sent"], ""),
        *(Figure(f"answered {code}", count, "") for code, count in codes.items()),
        at_most("answered otherwise", told["sent"] - told["lost"] - sum(codes.values()), "", 0),
        at_most("lost", told["lost"], "", 0),
        at_most("answered twice or to another", told["astray"], "", 0),
        at_most("429 without Retry-After", told["no_retry_after"], "", 0),
        at_most("difference from the service's own count", abs(counted - told["sent"] + told["lost"]), "", 0),
        Figure("results a second over capacity", codes["200"] / told["seconds"] / load.per_second, ""),
        Figure("result, p50", told["p50_ms"], "ms"),
        Figure("result, p99", told["p99_ms"], "ms"),
        at_least("ready afterwards", float(alive), "", 1),
    ]
