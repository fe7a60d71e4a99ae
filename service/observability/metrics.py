"""Counters and histograms for Prometheus, made for the one thread of the event loop.

prometheus_client writes the text, but it does not count: its counters take a lock and look their labels up,
4 us a request where these take half of one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CROPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Labels = tuple[str | int, ...]


class Counter:
    """Events by their labels."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self._description = (name, help_text)
        self._labels = labels
        self._counts: dict[Labels, int] = {} if labels else {(): 0}

    def add(self, *labels: str | int, count: int = 1) -> None:
        self._counts[labels] = self._counts.get(labels, 0) + count

    def state(self) -> list[tuple[Labels, int]]:
        """Plain values, for `absorb` in another process."""
        return list(self._counts.items())

    def absorb(self, state: Sequence[tuple[Sequence[str | int], int]]) -> None:
        """Adds what another process has counted."""
        for labels, count in state:
            self.add(*labels, count=count)

    def collect(self) -> Metric:
        family = CounterMetricFamily(*self._description, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(list(map(str, labels)), count)
        return family


class Histogram:
    """Values by their labels, counted in buckets with these upper bounds."""

    def __init__(
        self, name: str, help_text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self._description = (name, help_text)
        self._labels = labels
        self._bounds = bounds
        self._series: dict[Labels, _Series] = {} if labels else {(): _Series(len(bounds))}

    def observe(self, value: float, *labels: str | int) -> None:
        series = self._series.get(labels) or self._begin(labels)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.sum += value

    def state(self) -> list[tuple[Labels, list[int], float]]:
        """Plain values, for `absorb` in another process."""
        return [(labels, series.counts, series.sum) for labels, series in self._series.items()]

    def absorb(self, state: Sequence[tuple[Sequence[str | int], list[int], float]]) -> None:
        """Adds what another process has observed."""
        for labels, counts, total in state:
            series = self._series.get(tuple(labels)) or self._begin(tuple(labels))
            series.counts = [mine + other for mine, other in zip(series.counts, counts, strict=True)]
            series.sum += total

    def _begin(self, labels: Labels) -> _Series:
        series = self._series[labels] = _Series(len(self._bounds))
        return series

    def collect(self) -> Metric:
        family = HistogramMetricFamily(*self._description, labels=self._labels)
        for labels, series in self._series.items():
            names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
            buckets = list(zip(names, accumulate(series.counts), strict=True))
            family.add_metric(list(map(str, labels)), buckets, series.sum)
        return family


class _Series:
    __slots__ = ("counts", "sum")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.sum = 0.0
