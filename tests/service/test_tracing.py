"""Requests as spans, received as a collector receives them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

from abinet_client import Client
from service.engines.simulated import TEXT
from service.observability.tracing import is_tracing, tracing_fault
from tests.support.tiny_service import ROOT, ServiceProcess, crop, encoded, simulated_service

pytestmark = pytest.mark.slow

PNG = encoded(crop())
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = PARENT[3:35]
UNSAMPLED = PARENT[:-1] + "0"


class Collector:
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector._take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait_for(self, wanted: Callable[[Span], bool]) -> Span:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for span in self.spans:
                if wanted(span):
                    return span
            time.sleep(0.02)
        raise AssertionError([span.name for span in self.spans])

    def below(self, parent: Span) -> list[Span]:
        """In the order of their beginnings."""
        children = [span for span in self.spans if span.parent_span_id == parent.span_id]
        return sorted(children, key=lambda span: span.start_time_unix_nano)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(group.resource.attributes))
            for scoped in group.scope_spans:
                self.spans += scoped.spans


def attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in pairs}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with contextlib.closing(Collector()) as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[ServiceProcess]:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with simulated_service(environment=variables) as running:
        yield running


def named(collector: Collector, request_id: str) -> Span:
    return collector.wait_for(lambda span: attributes(span.attributes).get("abinet.request_id") == request_id)


def test_a_request_is_a_span_with_its_stages(traced: ServiceProcess, collector: Collector) -> None:
    answer = traced.client.post("/v1/read", content=PNG)
    span = named(collector, answer.headers["x-request-id"])
    assert (span.name, span.kind, span.parent_span_id) == ("POST /v1/read", Span.SPAN_KIND_SERVER, b"")
    said = attributes(span.attributes)
    assert (said["http.route"], said["http.response.status_code"], said["abinet.crops"]) == (
        "/v1/read",
        200,
        1,
    )
    stages = collector.below(span)
    took = {name: value for name, value in answer.json()["timings_ms"].items() if value and name != "total"}
    assert [stage.name for stage in stages] == list(took)
    for stage in stages:
        lasted = (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e6
        assert lasted == pytest.approx(took[stage.name], abs=1e-3)
    assert stages[0].start_time_unix_nano >= span.start_time_unix_nano - 1_000_000
    assert stages[-1].end_time_unix_nano <= span.end_time_unix_nano


def test_the_service_says_what_it_is(traced: ServiceProcess, collector: Collector) -> None:
    named(collector, traced.client.post("/v1/read", content=PNG).headers["x-request-id"])
    assert {resource["service.name"] for resource in collector.resources} == {"abinet"}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/read/batch", {"images": ["?", "iVBORw0KGgo="]}),
        ("/v2/models/abinet/infer", {"inputs": []}),
        ("/v1/read", {"image": 1}),
    ],
)
def test_a_request_that_fails_is_a_span_too(
    traced: ServiceProcess, collector: Collector, path: str, document: dict[str, Any]
) -> None:
    answer = traced.client.post(path, json=document)
    span = named(collector, answer.headers["x-request-id"])
    assert attributes(span.attributes)["http.response.status_code"] == answer.status_code


def test_a_batch_has_the_stages_of_the_crop_that_took_longest(
    traced: ServiceProcess, collector: Collector
) -> None:
    answer = traced.client.post("/v1/read/batch", files=[("images", ("a", PNG)), ("images", ("b", PNG))])
    span = named(collector, answer.headers["x-request-id"])
    assert attributes(span.attributes)["abinet.crops"] == 2
    assert {"decode", "queue", "vision", "encode"} <= {stage.name for stage in collector.below(span)}


def test_the_callers_trace_goes_on_and_the_answer_names_it(
    traced: ServiceProcess, collector: Collector
) -> None:
    answer = traced.client.post("/v1/read", content=PNG, headers={"traceparent": PARENT})
    span = named(collector, answer.headers["x-request-id"])
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT[36:52])
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{span.span_id.hex()}-01"


def test_what_the_caller_does_not_record_is_not_recorded(
    traced: ServiceProcess, collector: Collector
) -> None:
    silent = traced.client.post("/v1/read", content=PNG, headers={"traceparent": UNSAMPLED})
    named(collector, traced.client.post("/v1/read", content=PNG).headers["x-request-id"])
    assert silent.headers["traceresponse"].endswith("-00")
    silent_id = silent.headers["x-request-id"]
    assert silent_id not in [attributes(span.attributes).get("abinet.request_id") for span in collector.spans]


@pytest.mark.parametrize(
    "broken", ["", "00-0-0-01", "99-" + "f" * 300, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
def test_a_trace_that_is_none_is_passed_over(traced: ServiceProcess, broken: str) -> None:
    answer = traced.client.post("/v1/read", content=PNG, headers={"traceparent": broken})
    assert (answer.status_code, answer.headers["traceresponse"][3:35] != "0" * 32) == (200, True)


def test_the_log_names_the_trace(traced: ServiceProcess) -> None:
    answer = traced.client.post("/v1/read", content=PNG, headers={"traceparent": PARENT})
    wanted = answer.headers["x-request-id"]
    traced._wait(lambda: any(wanted in line for line in traced.lines))
    (line,) = [line for line in traced.lines if wanted in line]
    assert f" trace_id={TRACE} " in line


def test_probes_are_no_spans(traced: ServiceProcess, collector: Collector) -> None:
    for path in ("/health/ready", "/metrics", "/v2/health/live"):
        assert "traceresponse" not in traced.client.get(path).headers


def test_the_client_sends_on_the_span_that_is_open(traced: ServiceProcess, collector: Collector) -> None:
    tracer = TracerProvider().get_tracer("a")
    with Client(str(traced.client.base_url)) as client, tracer.start_as_current_span("outer") as outer:
        assert client.read(PNG).text == TEXT
        assert len(list(client.read_many([PNG, PNG]))) == 2
    parent = f"{outer.get_span_context().span_id:016x}"

    def crops() -> int:
        spans = [span for span in collector.spans if span.parent_span_id.hex() == parent]
        return sum(attributes(span.attributes)["abinet.crops"] for span in spans)

    collector.wait_for(lambda _: crops() == 3)


def test_without_a_collector_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, service.fronts.process, service.http.app as app; assert app._tracer() is None;"
        "print([name for name in ('opentelemetry.sdk', 'service.http.tracing') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, False),
    ],
)
def test_the_variables_of_opentelemetry_switch_it_on(variables: dict[str, str], on: bool) -> None:
    assert is_tracing(variables) is on


def test_a_protocol_that_is_not_spoken_is_named_at_the_start() -> None:
    fault = tracing_fault({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert fault is not None
    assert "not as grpc" in fault
