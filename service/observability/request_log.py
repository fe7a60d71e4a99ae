"""The log on the terminal: messages, and a line for each request, as text or as JSON.

A line says how a request went, never which text was read, because texts may be private.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any, TextIO

import orjson

from service.settings.model import Settings
from service.terminal import visible
from service.types import Timings

PROBES = (
    "/health/",
    "/v2/health/",
    "/metrics",
    "/v1/latency",
    "/grpc.health.v1.Health/",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
)
"""Routes that are asked every few seconds: logged only if they fail."""


def configure_logging(settings: Settings) -> None:
    """Sends every message to stderr in the format of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if settings.log_format == "json" else _TextFormatter("abinet: %(message)s")
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


class RequestLog:
    """Writes the lines of requests. For one thread.

    It bypasses `logging`, whose call alone takes as long as a whole line here.
    """

    def __init__(self, settings: Settings, stream: TextIO | None = None) -> None:
        self._enabled = settings.access_log and settings.log_level in ("debug", "info")
        self._format = _json_line if settings.log_format == "json" else _text_line
        self._stream = stream or sys.stderr

    def write(
        self,
        *,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        body_bytes: int = 0,
        crops: int = 0,
        timings: Timings | None = None,
        problem: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Logs an answered request: `problem` is the slug of its failure, `timings` are those of a single
        crop.
        """
        if not self._enabled or (status < 400 and route.startswith(PROBES)):
            return
        record: dict[str, Any] = {
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1e3 * seconds, 3),
        }
        if crops:
            record["crops"] = crops
        if body_bytes:
            record["bytes"] = body_bytes
        if problem is not None:
            record["problem"] = problem
        if trace_id is not None:
            record["trace_id"] = trace_id
        if timings is not None:
            record["timings_ms"] = vars(timings)
        # If the terminal has gone away, requests must not fail.
        with suppress(OSError):
            self._stream.write(self._format(record))


class _TextFormatter(logging.Formatter):
    """A message that is safe to show, whatever names are in it."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _JsonFormatter(logging.Formatter):
    """A message as one JSON object, with the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": visible(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = visible(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()


def _json_line(record: dict[str, Any]) -> str:
    return orjson.dumps({"time": _utc(time.time()), "level": "info", **record}).decode() + "\n"


def _text_line(record: dict[str, Any]) -> str:
    """`time=... request_id=... status=200 ... decode=0.3 queue=0.1`; no value has a space."""
    timings = record.pop("timings_ms", {})
    words = [f"{name}={value}" for fields in (record, timings) for name, value in fields.items()]
    return f"abinet: time={_utc(time.time())} {' '.join(words)}\n"


def _utc(seconds: float) -> str:
    """RFC 3339 with milliseconds."""
    whole = int(seconds)
    return f"{_second(whole)}.{int(1e3 * (seconds - whole)):03d}Z"


@lru_cache(1)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
