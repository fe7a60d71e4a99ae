"""What the service says about itself: percentiles, batch sizes, Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import numpy as np
import orjson
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.http.routes.metrics import LatencyReport, observability_router
from service.observability.all_fronts import Fronts
from service.observability.counts import Counts
from service.observability.latency import (
    LARGEST_MS,
    RELATIVE_ERROR,
    WINDOW_S,
    BatchWindow,
    StageLatencies,
    StageSummary,
)
from service.observability.observer import STAGES, Observer
from service.reading.reader import Reader
from service.types import Timings

MILLISECONDS = st.floats(min_value=1e-3, max_value=LARGEST_MS)


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def timings(milliseconds: float) -> Timings:
    return Timings(**{stage: milliseconds for stage in STAGES})


async def get(observer: Observer, path: str, ready: bool = True, **headers: str) -> httpx.Response:
    app = FastAPI()
    reader = SimpleNamespace(
        state="ready" if ready else "starting", main=SimpleNamespace(batch_costs=[{"vision": {4: 0.0302}}])
    )
    app.include_router(observability_router(Fronts(observer), cast(Reader, reader)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get(path, headers=headers)


async def samples(observer: Observer, ready: bool = True) -> dict[tuple[str, ...], float]:
    """What Prometheus would store: (name, label values in the order of the labels' names) -> value."""
    families = text_string_to_metric_families((await get(observer, "/metrics", ready)).text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@given(st.lists(MILLISECONDS, min_size=1, max_size=600))
def test_percentiles_are_within_the_stated_error_of_the_exact_ones(durations: list[float]) -> None:
    latencies = StageLatencies(["total"], Clock())
    for duration in durations:
        latencies.add((duration,))
    summary = latencies.summary(60)["total"]
    exact = np.percentile(durations, [50, 90, 99], method="inverted_cdf")
    np.testing.assert_allclose([summary.p50, summary.p90, summary.p99], exact, rtol=RELATIVE_ERROR + 1e-9)
    assert (summary.count, summary.max) == (len(durations), max(durations))


def test_a_stage_that_took_no_time_reads_as_none() -> None:
    latencies = StageLatencies(["refine"], Clock())
    latencies.add((0.0,))
    assert latencies.summary(60)["refine"] == StageSummary(1, 0.0, 0.0, 0.0, 0.0)


def test_stages_are_kept_apart() -> None:
    latencies = StageLatencies(["queue", "total"], Clock())
    latencies.add((1.0, 100.0))
    assert latencies.summary(60)["queue"].max == 1.0
    assert latencies.summary(60)["total"].p50 == pytest.approx(100, rel=RELATIVE_ERROR)


@pytest.mark.parametrize(
    ("age", "in_one_minute", "in_five"), [(0, 1, 1), (59, 1, 1), (60, 0, 1), (300, 0, 0)]
)
def test_what_is_older_than_the_window_is_forgotten(age: int, in_one_minute: int, in_five: int) -> None:
    clock = Clock()
    latencies = StageLatencies(["total"], clock)
    batches = BatchWindow(clock)
    latencies.add((5.0,))
    batches.add("vision", 3, 4)
    clock.now += age
    assert latencies.summary(60)["total"].count == in_one_minute
    assert latencies.summary(WINDOW_S)["total"].count == in_five
    assert sum(batches.calls(60).values()) == in_one_minute
    assert sum(batches.calls(WINDOW_S).values()) == in_five


def test_a_crop_counts_for_the_second_in_which_it_came() -> None:
    clock = Clock()
    latencies = StageLatencies(["total"], clock)
    latencies.add((5.0,))
    clock.now += 59
    latencies.add((7.0,))
    clock.now += 1
    assert latencies.summary(60)["total"].count == 1
    assert latencies.summary(60)["total"].max == 7.0


def test_memory_does_not_grow_with_the_traffic() -> None:
    clock = Clock()
    observer = Observer(clock)

    def held() -> int:
        return sum(array.nbytes for array in _arrays(observer)) + len(observer.batches._seconds)

    for _ in range(2 * WINDOW_S):
        observer.crop(timings(1.0))
        observer.batch("vision", 1, 1, 0.01)
        clock.now += 1
    before = held()
    for _ in range(2 * WINDOW_S):
        for _ in range(20):
            observer.crop(timings(1.0))
            observer.batch("vision", 1, 1, 0.01)
        clock.now += 1
    assert held() == before


def _arrays(observer: Observer) -> Iterator[np.ndarray]:
    return (value for value in vars(observer.latencies).values() if isinstance(value, np.ndarray))


async def test_the_latency_route_shows_every_stage_over_both_windows() -> None:
    clock = Clock()
    observer = Observer(clock)
    observer.crop(timings(10.0))
    clock.now += 100
    observer.crop(timings(20.0))
    windows = (await get(observer, "/v1/latency")).json()["windows"]
    assert {name: window["stages"]["total"]["count"] for name, window in windows.items()} == {
        "1m": 1,
        "5m": 2,
    }
    assert list(windows["1m"]["stages"]) == list(STAGES)
    assert windows["5m"]["stages"]["total"]["max"] == 20.0


async def test_the_latency_route_shows_how_full_batches_were() -> None:
    observer = Observer()
    observer.batch("vision", 3, 4, 0.01)
    observer.batch("vision", 3, 4, 0.01)
    observer.batch("vision", 1, 1, 0.01)
    window = (await get(observer, "/v1/latency")).json()["windows"]["1m"]
    assert window["batches"] == {"vision": {"calls": 3, "fill": 0.778, "sizes": {"1": 1, "3": 2}}}


def test_the_example_in_the_description_is_a_valid_report() -> None:
    (example,) = LatencyReport.model_json_schema()["examples"]
    assert LatencyReport.model_validate(example)


async def test_prometheus_sees_requests_by_route_and_code() -> None:
    observer = Observer()
    observer.request("/v1/read", 200, 0.02)
    observer.request("/v1/read", 200, 0.04)
    observer.request("/v1/read", 429, 0.001)
    seen = await samples(observer)
    assert seen["abinet_requests_total", "200", "/v1/read"] == 2
    assert seen["abinet_requests_total", "429", "/v1/read"] == 1
    assert seen["abinet_request_duration_seconds_count", "/v1/read"] == 3
    assert seen["abinet_request_duration_seconds_sum", "/v1/read"] == pytest.approx(0.061)
    assert seen["abinet_request_duration_seconds_bucket", "0.025", "/v1/read"] == 2


async def test_prometheus_sees_crops_batches_and_refusals() -> None:
    observer = Observer()
    observer.crop(timings(30.0))
    observer.batch("refine", 3, 4, 0.004)
    observer.rejected("queue-full")
    observer.depth(17)
    observer.limit(256)
    observer.devices(["cpu", "ascend:0"])
    observer.worker_restarted("cpu")
    seen = await samples(observer)
    assert seen["abinet_crops_total",] == 1
    assert seen["abinet_queue_wait_seconds_sum",] == pytest.approx(0.03)
    assert seen["abinet_batch_size_bucket", "refine", "2.0"] == 0
    assert seen["abinet_batch_size_bucket", "refine", "4.0"] == 1
    assert seen["abinet_batch_seconds_sum", "refine"] == pytest.approx(0.004)
    assert seen["abinet_rejected_total", "queue-full"] == 1
    assert seen["abinet_queue_depth",] == 17
    assert seen["abinet_queue_limit",] == 256
    assert seen["abinet_worker_restarts_total", "cpu"] == 1
    assert seen["abinet_worker_restarts_total", "ascend:0"] == 0


async def test_prometheus_sees_a_silent_service_too() -> None:
    seen = await samples(Observer(), ready=False)
    assert seen["abinet_ready",] == 0
    assert seen["abinet_crops_total",] == 0
    assert seen["abinet_queue_wait_seconds_count",] == 0
    assert seen["process_resident_memory_bytes",] > 0


async def test_openmetrics_is_spoken_where_it_is_asked_for() -> None:
    response = await get(Observer(), "/metrics", Accept="application/openmetrics-text")
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


async def test_the_documented_metrics_are_those_that_there_are(project: Path) -> None:
    observer = Observer()
    observer.request("/v1/read", 200, 0.02)
    observer.batch("vision", 1, 1, 0.01)
    observer.rejected("queue-full")
    observer.worker_restarted("cpu")
    observer.models([("small", "1", "main")], 0)
    observer.model_request("1", "read", 0.02)
    families = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            tuple(name for name in family.samples[0].labels if name != "le"),
            family.documentation,
        )
        for family in text_string_to_metric_families((await get(observer, "/metrics")).text)
        if family.name.startswith("abinet_")
    }
    text = (project / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(abinet_\w+)` \| (.*?) ?\| (.*) \|$", text, re.MULTILINE)
    documented = {(name, tuple(sorted(re.findall(r"\w+", labels))), help) for name, labels, help in rows}
    assert documented == {(name, tuple(sorted(labels)), help) for name, labels, help in families}


async def test_what_several_fronts_have_seen_adds_up() -> None:
    mine, others, managers = Counts(), Counts(), Counts()
    one, other = Observer(counts=mine, beside=[others, managers]), Observer(counts=others)
    for observer, milliseconds in ((one, 1.0), (other, 100.0), (other, 100.0)):
        observer.crop(timings(milliseconds))
        observer.batch("vision", 3, 4, 0.01)
        observer.request("/v1/read", 200, 0.01)
    Observer(counts=managers).worker_restarted("cpu")
    one.depth(2)
    other.depth(3)
    states = [orjson.loads(orjson.dumps(observer.state())) for observer in (one, other)]
    merged = one.with_others(states)
    seen = await samples(merged)
    assert seen["abinet_crops_total",] == 3
    assert seen["abinet_requests_total", "200", "/v1/read"] == 3
    assert seen["abinet_queue_depth",] == 5
    assert seen["abinet_batch_size_count", "vision"] == 3
    assert seen["abinet_worker_restarts_total", "cpu"] == 1
    total = merged.latencies.summary(60)["total"]
    assert (total.count, total.max) == (3, 100.0)
    assert total.p50 == pytest.approx(100, rel=RELATIVE_ERROR)
    assert merged.batches.calls(300) == {("vision", 3, 4): 3}


async def test_latency_shows_what_batches_cost() -> None:
    assert (await get(Observer(), "/v1/latency")).json()["batch_ms"] == [{"vision": {"4": 30.2}}]
