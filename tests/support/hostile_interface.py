"""Schemathesis against a service of ours: requests that the description of its interface allows, and others.

    python -m tests.support.hostile_interface --seconds 180 [--seed N]

tries every operation until the time is over (`just fuzz-http`). No answer may be a fault of the service, or
one that the description does not have: its status, media type, headers and document are checked.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import ServiceProcess, service

_CONFIGURATION = """
[checks]
# No schema can say that bytes are an image, or a list as long as a shape. And `0` is taken for `false`.
positive_data_acceptance.enabled = false
negative_data_rejection.enabled = false
# A deadline of 1 ms passes.
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503, 504]
"""
_GENERATED = re.compile(r"(\d+) generated")
ADMIN = "admin"


def fuzz(url: httpx.URL, *arguments: str) -> tuple[int, str]:
    """How many requests were tried, and what Schemathesis says. Raises ValueError if it finds something."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "schemathesis.toml"
        configuration.write_text(_CONFIGURATION)
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run"]
        common = ["--continue-on-failure", "--no-color", "--header", f"X-API-Key: {ADMIN}"]
        done = subprocess.run(
            [*command, str(url.join("/openapi.json")), *common, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
        )
    found = _GENERATED.search(done.stdout)
    if done.returncode or not found:
        raise ValueError(done.stdout + done.stderr)
    return int(found[1]), done.stdout


@contextlib.contextmanager
def changeable_service() -> Iterator[ServiceProcess]:
    """A service whose model may be changed, so that all its operations can be tried."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--bundle", empty_bundle(Path(folder)).folder, "--bundles", folder)
        engine = ("--engine", "simulated", "--simulated-ms", "0")
        with service(*options, *engine, environment={"ABINET_ADMIN_KEYS": ADMIN}) as running:
            yield running


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes the HTTP interface.")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with changeable_service() as running:
        try:
            count, _ = fuzz(
                running.client.base_url,
                *("--max-time", str(arguments.seconds), "--seed", str(arguments.seed)),
            )
        except ValueError as found:
            print(found, file=sys.stderr)
            return 1
    print(f"{count:,} requests, and every answer is as described")
    return 0


if __name__ == "__main__":
    sys.exit(main())
