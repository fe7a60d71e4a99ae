"""What the service counts while it works, for `/metrics` and `/v1/latency`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from service.observability.counts import Counts
from service.observability.latency import BatchWindow, Clock, StageLatencies
from service.observability.metrics import CROPS, SECONDS, Counter, Histogram
from service.observability.statistics import ModelStatistics
from service.types import Timings

STAGES = tuple(field.name for field in fields(Timings))
"""The stages of a crop's way, by the names in its timings."""

READ = "read"
"""The result of a request that did not fail."""

_durations = attrgetter(*STAGES)


class Observer:
    """Counts requests, crops, batches and refusals. Only for the event loop's thread: it takes no locks.

    A call costs about a microsecond and keeps nothing of the request, so memory stays flat.
    """

    def __init__(
        self, clock: Clock = time.monotonic, counts: Counts | None = None, beside: Sequence[Counts] = ()
    ) -> None:
        """Counts in memory of its own, or in `counts`; reports also what others count `beside` it."""
        counts = counts or Counts()
        self._counts, self._beside = counts, beside
        self.latencies = StageLatencies(STAGES, clock)
        self.batches = BatchWindow(clock)
        self.statistics = ModelStatistics(counts, beside)
        self._metrics: list[Counter | Histogram] = []
        self._front_restarts = self._counter("abinet_front_restarts", "Front processes started again.")
        self._requests = self._counter("abinet_requests", "Requests answered.", "route", "code")
        self._durations = self._histogram(
            "abinet_request_duration_seconds", "From a request's head to its answer.", SECONDS, "route"
        )
        self._rejected = self._counter("abinet_rejected", "Crops refused, by problem.", "reason")
        self._crops = self._counter("abinet_crops", "Crops read.")
        self._readings = self._counter("abinet_readings", "Readings of crops: one for each way up.")
        self._queue_wait = self._histogram(
            "abinet_queue_wait_seconds", "Wait of a crop for its first batch.", SECONDS
        )
        self._batch_size = self._histogram("abinet_batch_size", "Crops in an engine call.", CROPS, "kind")
        self._batch_seconds = self._histogram(
            "abinet_batch_seconds", "Engine time of one call.", SECONDS, "kind"
        )
        self._model_requests = self._counter(
            "abinet_model_requests", "Requests that a model was given.", "version", "result"
        )
        self._model_seconds = self._histogram(
            "abinet_model_request_duration_seconds",
            "From the crops of a request to the last reading.",
            SECONDS,
            "version",
        )
        self._restarts = self._counter("abinet_worker_restarts", "Engine workers started again.", "device")
        self._cpu_seconds = self._counter(
            "process_cpu_seconds", "Total user and system CPU time spent in seconds."
        )
        self._cpu_noted = 0.0
        self._models: list[tuple[str, str, str]] = []
        self._canary_percent = 0.0
        self._depth = 0
        self._limit = 0

    def request(self, route: str, code: int, seconds: float) -> None:
        """Counts an answered request. `route` is a route's path template, so that there are few of them."""
        self._requests.add(route, code)
        self._durations.observe(seconds, route)

    def crop(self, timings: Timings) -> None:
        """Counts a crop that has been read, with its times in milliseconds."""
        self._crops.add()
        self._queue_wait.observe(timings.queue / 1e3)
        self.latencies.add(_durations(timings))

    def model_crop(self, version: str, timings: Timings) -> None:
        """The same for a crop of a model, also in the model's statistics."""
        self.crop(timings)
        self.statistics.crop(version, timings)

    def readings(self, count: int) -> None:
        """Counts readings of crops; a crop that is read several ways up has several."""
        self._readings.add(count=count)

    def batch(self, kind: str, size: int, capacity: int, seconds: float) -> None:
        """Counts an engine call: `size` crops in a graph of batch `capacity`, and the engine's own time."""
        self._batch_size.observe(size, kind)
        self._batch_seconds.observe(seconds, kind)
        self.batches.add(kind, size, capacity)

    def rejected(self, reason: str) -> None:
        """Counts a crop that was refused or failed; `reason` is the slug of its problem."""
        self._rejected.add(reason)

    def model_request(self, version: str, result: str, seconds: float) -> None:
        """Counts a request of a model: `result` is read, or the slug of its (first) failure."""
        self._model_requests.add(version, result)
        self._model_seconds.observe(seconds, version)
        self.statistics.request(version, result != READ, seconds)

    def models(self, served: Iterable[tuple[str, str, str]], canary_percent: float) -> None:
        """Sets the models that are served: name, version and role, which is main or canary."""
        self._models = list(served)
        self._canary_percent = canary_percent

    def depth(self, crops: int) -> None:
        """Sets how many readings of crops wait for their first batch."""
        self._depth = crops

    def limit(self, crops: int) -> None:
        """Sets how many readings may wait."""
        self._limit = crops

    def devices(self, names: Iterable[str]) -> None:
        """Makes a counter for each device at the start: one that appeared with its first event would hide
        this event.
        """
        for name in names:
            self._restarts.add(name, count=0)

    def worker_restarted(self, device: str) -> None:
        """Counts an engine worker that died and was replaced."""
        self._restarts.add(device)

    def front_restarted(self) -> None:
        """Counts a front that died and is replaced."""
        self._front_restarts.add()

    def note_cpu_time(self) -> None:
        """Adds the processor time of this process since the last call."""
        now = time.process_time()
        self._cpu_seconds.add(count=now - self._cpu_noted)
        self._cpu_noted = now

    def state(self) -> dict[str, Any]:
        """The figures other than counters, of now and of the last minutes, as plain values ready for JSON."""
        return {
            "depth": self._depth,
            "limit": self._limit,
            "latencies": self.latencies.state(),
            "batches": self.batches.state(),
        }

    def with_others(self, states: Sequence[dict[str, Any]]) -> Observer:
        """This observer's counts and those beside it, with the states of all, its own among them."""
        together = Observer(counts=self._counts, beside=self._beside)
        together.models(self._models, self._canary_percent)
        for state in states:
            together._depth += state["depth"]
            together._limit += state["limit"]
            together.latencies.absorb(state["latencies"])
            together.batches.absorb(state["batches"])
        return together

    def collect(self) -> Iterator[Metric]:
        """Everything counted, as prometheus_client writes it."""
        yield GaugeMetricFamily(
            "abinet_queue_depth",
            "Readings of crops that wait for their first batch.",
            self._depth,
        )
        yield GaugeMetricFamily("abinet_queue_limit", "Readings that may wait.", self._limit)
        info = GaugeMetricFamily(
            "abinet_model_info", "1 for each model being served.", labels=["name", "version", "role"]
        )
        for labels in self._models:
            info.add_metric(labels, 1)
        yield info
        yield GaugeMetricFamily(
            "abinet_canary_percent", "Share of requests that the canary reads.", self._canary_percent
        )
        for metric in self._metrics:
            yield metric.collect(self._beside)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        metric = Counter(self._counts, name, help_text, labels)
        self._metrics.append(metric)
        return metric

    def _histogram(self, name: str, help_text: str, bounds: Sequence[float], *labels: str) -> Histogram:
        metric = Histogram(self._counts, name, help_text, bounds, labels)
        self._metrics.append(metric)
        return metric
