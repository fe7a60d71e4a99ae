"""Measures replicas on Ray: crops a second of 1 and of 2, through one proxy, with a simulated engine.

The engine takes its time without the CPU, so that it and not the cores of this machine limits a replica.
What proxy and replica themselves let through is measured with an engine that takes no time.
"""

import argparse
import logging
import os
import socket
import sys

os.environ |= {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import ray
from ray import serve
from serving.bodies import crop_jpeg
from serving.figures import Figure, at_least, report
from serving.wrk import Load, run_wrk

from service.bundled import bundled_model
from service.ray_app import app

CLIENTS_A_REPLICA = 32
WARM_UP_S = 2.0


def measured(arguments: argparse.Namespace) -> list[Figure]:
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        serve.start(http_options={"port": port})
        url, ms, seconds = f"http://127.0.0.1:{port}", arguments.simulated_ms, arguments.seconds
        one, two = (load_of(replicas, ms, url, seconds) for replicas in (1, 2))
        no_op = load_of(1, 0.0, url, seconds)
    finally:
        ray.shutdown()
    efficiency = two.per_second / (2 * one.per_second)
    return [
        Figure("1 replica", one.per_second, "crops/s"),
        Figure("99 % of its requests within", one.p99_ms, "ms"),
        Figure("2 replicas", two.per_second, "crops/s"),
        Figure("99 % of their requests within", two.p99_ms, "ms"),
        at_least("efficiency, 2 over twice 1", efficiency, "", 0.9),
        Figure("1 replica whose engine takes no time", no_op.per_second, "crops/s"),
    ]


def load_of(replicas: int, simulated_ms: float, url: str, seconds: float) -> Load:
    """What so many replicas answer `CLIENTS_A_REPLICA` clients each, which send the next crop at once."""
    settings = {
        "bundle": bundled_model(sys.executable),
        "engine": "simulated",
        "simulated_ms": simulated_ms,
        "access_log": False,
    }
    serve.run(app({**settings, "replicas": replicas, "cpus": 1}))
    path, connections = f"{url}/v1/read?detail=false", CLIENTS_A_REPLICA * replicas
    run_wrk(path, crop_jpeg(), connections=connections, seconds=WARM_UP_S)
    load = run_wrk(path, crop_jpeg(), connections=connections, seconds=seconds)
    serve.delete("default")
    return load


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulated-ms", type=float, default=40.0, help="of an engine call (default: 40)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: 10)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return report("ray_serve", measured, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
