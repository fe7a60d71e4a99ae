"""Load that changes by itself, with locust: steady, a ramp, a spike, a trough, and again.

    uv run --group load locust -f benchmarks/locustfile.py --headless --run-time 10m --host http://127.0.0.1:8000

Without --headless locust shows it on a page of its own. A 429 with Retry-After and a 504 are clear answers,
counted under names of their own; whatever else is not a result is a failure: locust ends with exit code 1.
Only a service on this machine is loaded: the host has to be a loopback address.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from locust import FastHttpUser, LoadTestShape, constant, events, task

SAMPLES = [path.read_bytes() for path in sorted(Path("models/zoo/samples").glob("*.png"))]
USERS = 16
BATCH_ITEMS = 32
CLEAR_REFUSALS = (429, 504)


class Phase(NamedTuple):
    """So many seconds with so many users, of whom this many begin or end in a second."""

    seconds: int
    users: int
    users_a_second: float


PHASES = (
    Phase(60, USERS, 8),  # steady
    Phase(60, 3 * USERS, 0.5),  # a ramp
    Phase(20, 10 * USERS, 100),  # a spike
    Phase(40, 1, 100),  # a trough
)


class Rotation(LoadTestShape):
    """The phases one after the other, again and again, until locust's --run-time is over."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        assert self.runner.environment.parsed_options is not None
        limit = self.runner.environment.parsed_options.run_time
        if limit and self.get_run_time() > limit:
            return None
        second = self.get_run_time() % sum(phase.seconds for phase in PHASES)
        for phase in PHASES:
            if second < phase.seconds:
                break
            second -= phase.seconds
        return phase.users, phase.users_a_second


@events.init.add_listener
def only_this_machine(environment: Any, **_: Any) -> None:
    """Refuses to load any other machine."""
    name = urlsplit(environment.host or "").hostname or ""
    if name != "localhost" and not _is_loopback(name):
        sys.exit(
            f"locustfile: --host {environment.host}: not a loopback address such as http://127.0.0.1:8000"
        )


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Client(FastHttpUser):
    """One client of the service, which sends its next request as soon as it has an answer."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self._crops = _endless(SAMPLES)

    @task(60)
    def one_crop(self) -> None:
        self._post("/v1/read", "one crop", data=next(self._crops))

    @task(10)
    def one_crop_that_may_stop_early(self) -> None:
        self._post("/v1/read?early_stop=true&detail=false", "one crop, early stop", data=next(self._crops))

    @task(5)
    def one_crop_in_a_hurry(self) -> None:
        self._post("/v1/read", "one crop, 100 ms", data=next(self._crops), headers={"X-Timeout-Ms": "100"})

    @task(5)
    def a_batch(self) -> None:
        files = [("images", (f"{index}.png", next(self._crops))) for index in range(BATCH_ITEMS)]
        self._post("/v1/read/batch", f"{BATCH_ITEMS} crops", files=files)

    @task(1)
    def no_image(self) -> None:
        self._post("/v1/read", "no image", data=b"not an image", expected=415)

    @task(1)
    def latency(self) -> None:
        self.client.get("/v1/latency", name="latency")

    def _post(self, path: str, name: str, expected: int = 200, **content: Any) -> None:
        with self.client.post(path, name=name, catch_response=True, **content) as answer:
            if answer.status_code == expected:
                answer.success()
            elif answer.status_code in CLEAR_REFUSALS:
                answer.request_meta["name"] = f"{name}: {answer.status_code}"
                if answer.status_code == 429 and "Retry-After" not in answer.headers:
                    answer.failure("429 without Retry-After")
                else:
                    answer.success()
            else:
                answer.failure(f"{answer.status_code}, not {expected}")


def _endless(crops: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from crops
