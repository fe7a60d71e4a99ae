"""Counters and histograms for Prometheus, only for the thread of the event loop.

prometheus_client writes the text but does not count: its counters take a lock and look their labels up, which
takes 4 us a request; these take half a microsecond.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from service.observability.counts import Counts, Labels, totals

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CROPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counter:
    """Events by their labels."""

    def __init__(self, counts: Counts, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self._counts = counts
        self._cells = counts.cells
        self._name = name
        self._help = help_text
        self._labels = labels
        self._places: dict[Labels, int] = {}
        if not labels:
            self.add(count=0)

    def add(self, *labels: str | int, count: float = 1) -> None:
        place = self._places.get(labels)
        if place is None:
            place = self._places[labels] = self._counts.place(self._name, labels, 1)
        self._cells[place] += count

    def collect(self, beside: Sequence[Counts] = ()) -> Metric:
        """The metric, with what other processes count `beside` this one."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for labels, (count,) in totals([self._counts, *beside], self._name).items():
            family.add_metric(list(map(str, labels)), count)
        return family


class Histogram:
    """Values by their labels, counted in buckets with these upper bounds."""

    def __init__(
        self, counts: Counts, name: str, help_text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self._counts = counts
        self._cells = counts.cells
        self._name = name
        self._help = help_text
        self._labels = labels
        self._bounds = bounds
        self._places: dict[Labels, int] = {}
        if not labels:
            self._place(())

    def observe(self, value: float, *labels: str | int) -> None:
        place = self._places.get(labels)
        if place is None:
            place = self._place(labels)
        self._cells[place] += value
        self._cells[place + 1 + bisect_left(self._bounds, value)] += 1

    def _place(self, labels: Labels) -> int:
        """The place of the sum, before the buckets: those with bounds, and one for all values above."""
        place = self._counts.place(self._name, labels, len(self._bounds) + 2)
        self._places[labels] = place
        return place

    def collect(self, beside: Sequence[Counts] = ()) -> Metric:
        """The metric, with what other processes count `beside` this one."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, (total, *counts) in totals([self._counts, *beside], self._name).items():
            family.add_metric(
                list(map(str, labels)), list(zip(names, accumulate(counts), strict=True)), total
            )
        return family
