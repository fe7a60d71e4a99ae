"""Whether requests are traced, by OpenTelemetry's own variables. The rest is imported only if they are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from service.extras import remedy

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def is_tracing(environment: Mapping[str, str]) -> bool:
    """Whether a place for spans is set and the packages that send them are installed."""
    return _is_wanted(environment) and _is_installed()


def tracing_fault(environment: Mapping[str, str]) -> str | None:
    """Why spans cannot be sent although they are wanted, with the remedy."""
    if not _is_wanted(environment):
        return None
    if not _is_installed():
        return f"no traces: {remedy('opentelemetry.sdk')}"
    protocol = next(filter(None, map(environment.get, _PROTOCOLS)), _PROTOCOL)
    if protocol != _PROTOCOL:
        return (
            f"traces are sent as {_PROTOCOL} and not as {protocol}: name the collector's port for it (4318)"
        )
    return None


def _is_wanted(environment: Mapping[str, str]) -> bool:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter not in ("", "otlp"):
        return False
    return bool(exporter or any(map(environment.get, _ENDPOINTS)))


def _is_installed() -> bool:
    # The exporter, too: others, such as Ray, bring the rest.
    try:
        return find_spec("opentelemetry.sdk") is not None and find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False
