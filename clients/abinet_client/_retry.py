"""When to try again: after failures that may pass, with growing pauses, within the call's deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from abinet_client._exceptions import AbinetError, DeadlineExceeded


@dataclass(frozen=True)
class Retry:
    """How often a call is tried and how long the pauses are, in seconds.

    Reading changes nothing in the service, so a call is tried again if the queue was full (429), the service
    not ready (503) or the connection failed. The pause before the attempt n + 1 is random, up to
    `first_pause` * 2**(n - 1) and never above `longest_pause`, on top of what Retry-After asks for. If nobody
    listens, it gives up after `refused` seconds. `Retry(attempts=1)` never tries again.
    """

    attempts: int = 10
    first_pause: float = 0.1
    longest_pause: float = 5.0
    refused: float = 1.5

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.first_pause, self.longest_pause, self.refused) < 0:
            raise ValueError(f"{self}: at least one attempt, and no pause below 0")


class Attempts:
    """The attempts of one call, which has `timeout` seconds for all of them and the pauses between."""

    def __init__(self, retry: Retry, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry = retry
        self._timeout = timeout
        self._clock = clock
        self._started = clock()
        self._deadline = self._started + timeout
        self._made = 0

    def seconds_left(self, grace: float = 0.0) -> float:
        """Seconds until `grace` seconds after the deadline. Raises DeadlineExceeded if there are none."""
        left = self._deadline + grace - self._clock()
        if left <= 0:
            raise DeadlineExceeded(f"Not read within {self._timeout:g} s.")
        return left

    def pause_after(self, error: AbinetError) -> float:
        """Seconds until the next attempt. Raises the error itself if no other is due."""
        self._made += 1
        if not error.is_transient or self._made >= self._retry.attempts:
            raise error
        longest = min(self._retry.longest_pause, self._retry.first_pause * 2.0 ** (self._made - 1))
        again = self._clock() + (pause := (error.retry_after or 0.0) + random.uniform(0, longest))
        if again >= self._deadline or (error.is_refusal and again > self._started + self._retry.refused):
            raise error
        return pause
