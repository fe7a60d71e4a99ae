"""One client, one request at a time: what the service adds to the engine's own time."""

import argparse

from ..figures import Figure, at_most
from ..flags import add_engine, add_seconds
from ..load import load_generator
from ..served import engine_flags, opened_bundle, serving


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_seconds(parser)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    with serving(opened_bundle(arguments).folder, engine_flags(arguments)) as url:
        told = load_generator("idle", url, "--seconds", str(arguments.seconds))
    return [
        Figure("requests", told["requests"], ""),
        Figure("request, p50", told["total_ms"], "ms"),
        Figure("engine's own time in it, p50", told["engine_ms"], "ms"),
        at_most("beyond the engine, p50", told["beyond_ms"], "ms", 3),
        Figure("beyond the engine, p99", told["beyond_p99_ms"], "ms"),
    ]
