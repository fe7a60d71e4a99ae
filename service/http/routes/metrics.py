"""`GET /metrics` for Prometheus and `GET /v1/latency` for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field

from service.observability.all_fronts import Fronts
from service.observability.latency import RELATIVE_ERROR, WINDOWS
from service.observability.observer import Observer
from service.reading.batch_sizes import in_milliseconds
from service.reading.reader import Reader


class StageLatency(BaseModel):
    """One stage over one window; times in milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


class GraphBatches(BaseModel):
    """Engine calls of one graph over one window."""

    calls: int
    fill: float = Field(description="Crops over the rows that the engine ran: 1 means no padding.")
    sizes: dict[int, int] = Field(description="Calls by the number of crops in them.")


class LatencyWindow(BaseModel):
    """The last minutes, by stage and by graph."""

    stages: dict[str, StageLatency]
    batches: dict[str, GraphBatches]


_STAGE: dict[str, Any] = {"count": 5120, "p50": 2.11, "p90": 4.4, "p99": 9.13, "max": 14.029}
_WINDOW: dict[str, Any] = {
    "stages": {"queue": _STAGE, "total": {**_STAGE, "p50": 51.7, "p90": 60.2, "p99": 80.1, "max": 91.442}},
    "batches": {"vision": {"calls": 401, "fill": 0.93, "sizes": {4: 11, 13: 90, 16: 300}}},
}


class LatencyReport(BaseModel):
    """Where the time of crops went, lately."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"relative_error": RELATIVE_ERROR, "windows": {"1m": _WINDOW, "5m": _WINDOW}}]
        }
    )

    relative_error: float = Field(description="How far off a percentile may be; count and max are exact.")
    windows: dict[str, LatencyWindow]
    batch_ms: list[dict[str, dict[int, float]]] = Field(
        default=[], description="As in `GET /v1/model`, of the front that answers."
    )


def observability_router(fronts: Fronts, reader: Reader) -> APIRouter:
    """The routes that show what all `fronts` have seen, and what this one's `reader` knows."""
    router = APIRouter(tags=["observability"])

    @router.get("/metrics", response_class=Response)
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        """Counters for Prometheus, as text or OpenMetrics."""
        encode, content_type = _encoder(accept)
        observer, processes = await fronts.observed()
        registry = CollectorRegistry()
        registry.register(_ServiceCollector(observer, lambda: reader.state == "ready"))
        registry.register(_ProcessesCollector(processes))
        return Response(encode(registry), media_type=content_type)

    @router.get("/v1/latency")
    async def latency() -> LatencyReport:
        """Percentiles of every stage and the batch sizes over the last 1 and 5 minutes."""
        observer, _ = await fronts.observed()
        return LatencyReport(
            relative_error=RELATIVE_ERROR,
            windows={name: _window(observer, seconds) for name, seconds in WINDOWS.items()},
            batch_ms=[in_milliseconds(costs) for costs in reader.main.batch_costs],
        )

    return router


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """The encoder for the format that a client asks for; plain text if it is not known."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        return choose_encoder("")


_COUNTED = "process_cpu_seconds"
"""The observer counts this one, because the work of a front that has died must stay in it."""
_NOT_ADDED = ("process_start_time_seconds", "process_max_fds")


class _ServiceCollector(Collector):
    def __init__(self, observer: Observer, is_ready: Callable[[], bool]) -> None:
        self._observer = observer
        self._is_ready = is_ready

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("abinet_ready", "1 when the service takes crops.", int(self._is_ready()))
        yield from self._observer.collect()


class _ProcessesCollector(Collector):
    """prometheus_client's metrics of a process, added up over several: memory and files."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        collectors = [ProcessCollector(pid=partial(int, pid), registry=None) for pid in self._processes]
        collected = [metrics for metrics in map(list, map(ProcessCollector.collect, collectors)) if metrics]
        for same in zip(*collected, strict=False):
            if same[0].name == _COUNTED:
                continue
            values = [metric.samples[0].value for metric in same]
            total = min(values) if same[0].name in _NOT_ADDED else sum(values)
            same[0].samples[0] = same[0].samples[0]._replace(value=total)
            yield same[0]


def _window(observer: Observer, seconds: int) -> LatencyWindow:
    return LatencyWindow(
        stages={
            stage: StageLatency(**{name: round(value, 3) for name, value in asdict(summary).items()})
            for stage, summary in observer.latencies.summary(seconds).items()
        },
        batches=_batches(observer.batches.calls(seconds)),
    )


def _batches(calls: Counter[tuple[str, int, int]]) -> dict[str, GraphBatches]:
    graphs = {}
    for kind in sorted({kind for kind, _, _ in calls}):
        of_kind = [(size, capacity, count) for (name, size, capacity), count in calls.items() if name == kind]
        sizes: Counter[int] = Counter()
        for size, _, count in of_kind:
            sizes[size] += count
        crops = sum(size * count for size, _, count in of_kind)
        rows = sum(capacity * count for _, capacity, count in of_kind)
        graphs[kind] = GraphBatches(
            calls=sum(sizes.values()), fill=round(crops / rows, 3), sizes=dict(sorted(sizes.items()))
        )
    return graphs
