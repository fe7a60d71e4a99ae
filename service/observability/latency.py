"""How long each stage took over the last minutes, in memory that does not grow with the traffic.

Every second has a histogram of each stage with buckets 4 % wide, so that a percentile is off by 2 % at most.
The seconds of the last five minutes can be added up to any shorter window.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOWS = {"1m": 60, "5m": 300}
"""The windows of the report, in seconds."""
WINDOW_S = 300
"""Seconds that are remembered."""
RELATIVE_ERROR = 0.02
SMALLEST_MS, LARGEST_MS = 5e-4, 1e6
"""Durations up to the smallest count as no time; no percentile is above the largest."""

_BUCKETS_PER_E = 1 / (2 * math.log1p(RELATIVE_ERROR))
_BUCKETS = 2 + math.ceil(math.log(LARGEST_MS / SMALLEST_MS) * _BUCKETS_PER_E)
# A bucket stands for its geometric middle, which is equally far from both ends.
_VALUES = SMALLEST_MS * np.exp((np.arange(_BUCKETS) - 0.5) / _BUCKETS_PER_E)
_VALUES[0] = 0.0
_PENDING = 256

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage over one window: how many crops, and milliseconds. The maximum is exact."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


class StageLatencies:
    """Durations of crops, stage by stage, over the last `WINDOW_S` seconds.

    For one thread. Adding a crop costs about a microsecond, because crops are gathered and counted a few
    hundred at a time.
    """

    def __init__(self, stages: Sequence[str], clock: Clock = time.monotonic) -> None:
        self._stages = tuple(stages)
        self._clock = clock
        self._second = int(clock())
        self._pending: list[tuple[float, ...]] = []
        # Not np.zeros, because the system would provide its memory only as the seconds pass.
        self._counts = np.full((WINDOW_S, len(stages), _BUCKETS), 0, np.uint32)
        self._maxima = np.zeros((WINDOW_S, len(stages)))
        self._absorbed: list[dict[str, Any]] = []
        self._stage_offsets = np.arange(len(stages)) * _BUCKETS

    def add(self, milliseconds: tuple[float, ...]) -> None:
        """Adds a crop: a duration for each stage, in the stages' order."""
        if len(self._pending) >= _PENDING or int(self._clock()) != self._second:
            self._count()
        self._pending.append(milliseconds)

    def summary(self, seconds: int) -> dict[str, StageSummary]:
        """Every stage over the last `seconds` (`WINDOW_S` at most), the current one included."""
        counts, maxima = self._window(seconds)
        for state in self._absorbed:
            places, added, others = state[str(seconds)]
            counts.flat[places] += np.array(added, np.int64)
            maxima = np.maximum(maxima, others)
        return {
            stage: _summary(count, float(maximum))
            for stage, count, maximum in zip(self._stages, counts, maxima, strict=True)
        }

    def state(self) -> dict[str, Any]:
        """Plain values of each window, for `absorb` in another process."""
        state = {}
        for seconds in WINDOWS.values():
            counts, maxima = self._window(seconds)
            places = np.flatnonzero(counts)
            state[str(seconds)] = (places.tolist(), counts.flat[places].tolist(), maxima.tolist())
        return state

    def absorb(self, state: dict[str, Any]) -> None:
        """Adds what another process has measured until now."""
        self._absorbed.append(state)

    def _window(self, seconds: int) -> tuple[np.ndarray, np.ndarray]:
        self._count()
        rows = np.arange(self._second - seconds + 1, self._second + 1) % WINDOW_S
        return self._counts[rows].sum(axis=0, dtype=np.int64), self._maxima[rows].max(axis=0)

    def _count(self) -> None:
        """Counts what is pending for its second, then goes on to the present one."""
        if self._pending:
            durations = np.array(self._pending)
            self._pending.clear()
            row = self._second % WINDOW_S
            places = (_buckets(durations) + self._stage_offsets).ravel()
            counted = np.bincount(places, minlength=self._counts[row].size)
            self._counts[row] += counted.reshape(self._counts[row].shape).astype(np.uint32)
            np.maximum(self._maxima[row], durations.max(axis=0), out=self._maxima[row])
        now = int(self._clock())
        for second in range(max(self._second + 1, now - WINDOW_S + 1), now + 1):
            self._counts[second % WINDOW_S] = 0
            self._maxima[second % WINDOW_S] = 0
        self._second = now


class BatchWindow:
    """Engine calls by graph and by number of crops over the last `WINDOW_S` seconds."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, Counter[tuple[str, int, int]]]] = deque()
        self._absorbed: list[dict[str, Any]] = []

    def add(self, kind: str, size: int, capacity: int) -> None:
        """Adds a call of a graph with `size` crops in a batch of `capacity`."""
        now = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != now:
            self._seconds.append((now, Counter()))
            while self._seconds[0][0] <= now - WINDOW_S:
                self._seconds.popleft()
        self._seconds[-1][1][kind, size, capacity] += 1

    def calls(self, seconds: int) -> Counter[tuple[str, int, int]]:
        """How often each (kind, size, capacity) ran in the last `seconds`."""
        since = int(self._clock()) - seconds
        calls = sum((calls for second, calls in self._seconds if second > since), Counter())
        for state in self._absorbed:
            calls.update({(kind, size, capacity): n for kind, size, capacity, n in state[str(seconds)]})
        return calls

    def state(self) -> dict[str, Any]:
        """Plain values of each window, for `absorb` in another process."""
        return {
            str(seconds): [(*call, count) for call, count in self.calls(seconds).items()]
            for seconds in WINDOWS.values()
        }

    def absorb(self, state: dict[str, Any]) -> None:
        """Adds what another process has counted until now."""
        self._absorbed.append(state)


def _buckets(milliseconds: np.ndarray) -> np.ndarray:
    clipped = np.clip(milliseconds, SMALLEST_MS, LARGEST_MS)
    buckets = np.ceil(np.log(clipped / SMALLEST_MS) * _BUCKETS_PER_E)
    numbers: np.ndarray = buckets.astype(np.int64)
    return numbers


def _summary(counts: np.ndarray, maximum: float) -> StageSummary:
    total = int(counts.sum())
    if not total:
        return StageSummary(0, 0.0, 0.0, 0.0, 0.0)
    # The nearest rank: the shortest duration that this many per cent of all do not exceed.
    ranks = [-(-total * percent // 100) for percent in (50, 90, 99)]
    places = np.searchsorted(counts.cumsum(), ranks)
    p50, p90, p99 = (min(float(value), maximum) for value in _VALUES[places])
    return StageSummary(total, p50, p90, p99, maximum)
