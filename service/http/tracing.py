"""Spans of requests, for an OpenTelemetry collector. Imported only if requests are traced."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.request_log import PROBES
from service.types import Timings

_STAGES = tuple(name for name in Timings.model_fields if name != "total")


def new_tracer() -> Tracer:
    """A tracer that sends spans to OTEL_EXPORTER_OTLP_ENDPOINT, the last ones when the process ends."""
    release = version("abinet-ascend")
    named = OTELResourceDetector().detect().attributes
    resource = Resource.create({"service.name": "abinet", "service.version": release, **named})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("abinet", release)


class TracingMiddleware:
    """A span for each request except probes, below the caller's if it sends a `traceparent`.

    Below it is a span for each stage of its crop, or of the crop that took longest. They follow one another
    and end when the answer leaves, although a crop may wait for the engine between them. The answer names the
    span in `traceresponse`, the log its trace.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(PROBES):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        span = self._tracer.start_span(scope["method"], extract(headers), SpanKind.SERVER)
        context = span.get_span_context()
        state = scope.setdefault("state", {})
        state["trace_id"] = f"{context.trace_id:032x}"
        name = f"00-{state['trace_id']}-{context.span_id:016x}-{context.trace_flags:02x}"
        status = answered_ns = 0

        async def send_with_trace(message: Message) -> None:
            nonlocal status, answered_ns
            if message["type"] == "http.response.start":
                status, answered_ns = message["status"], time.time_ns()
                message["headers"] = [*message.get("headers", ()), (b"traceresponse", name.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_trace)
        finally:
            if span.is_recording():
                _describe(span, scope, status)
                timings = state.get("timings") or state.get("slowest")
                if timings is not None:
                    self._add_stages(span, timings, answered_ns)
            span.end()

    def _add_stages(self, span: Span, timings: Timings, end_ns: int) -> None:
        parent = set_span_in_context(span)
        start = end_ns - _nanoseconds(timings.total)
        for stage in _STAGES:
            end = start + _nanoseconds(getattr(timings, stage))
            if end > start:
                self._tracer.start_span(stage, parent, start_time=start).end(end)
            start = end


def _nanoseconds(milliseconds: float) -> int:
    return round(1e6 * milliseconds)


def _describe(span: Span, scope: Scope, status: int) -> None:
    """Attributes as in OpenTelemetry's conventions for HTTP servers, and our own for what was read."""
    state: dict[str, Any] = scope["state"]
    route = getattr(scope.get("route"), "path", "")
    span.update_name(f"{scope['method']} {route}".rstrip())
    attributes: dict[str, Any] = {
        "http.request.method": scope["method"],
        "http.response.status_code": status,
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
        "abinet.request_id": state.get("request_id", ""),
    }
    if route:
        attributes["http.route"] = route
    if crops := state.get("crops"):
        attributes["abinet.crops"] = crops
    if (error := state.get("problem")) is not None:
        attributes["error.type"] = error.problem.slug
    span.set_attributes(attributes)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
