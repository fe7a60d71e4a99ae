"""Measures the service over loopback, under the load of other processes.

Each scenario starts its own services, prints a table with the aim beside each figure (`--json`: as JSON),
and can be run alone.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from .figures import report

SCENARIOS = (
    "throughput",
    "no-op",
    "same-graph",
    "devices",
    "capacity",
    "idle",
    "early-stop",
    "start",
    "cost",
    "restart",
    "memory",
    "soak",
    "goodput",
    "fairness",
    "regions",
    "lexicon",
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--bundle", type=Path, help="default: the bundled model")
    common.add_argument("--worker-python", default=sys.executable)
    common.add_argument("--json", action="store_true", help="print the figures as JSON, for docs/figures")
    subparsers = parser.add_subparsers(required=True)
    for name in SCENARIOS:
        scenario = import_module(f".scenarios.{name.replace('-', '_')}", __package__)
        described = scenario.__doc__ or ""
        subparser = subparsers.add_parser(name, parents=[common], help=described, description=described)
        scenario.configure(subparser)
        subparser.set_defaults(scenario=name, measure=scenario.measure)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    sys.exit(report(f"serving {arguments.scenario}", arguments.measure, arguments))
