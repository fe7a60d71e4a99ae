"""The lines on the terminal: one a request, as text or as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.engines.simulated import TEXT
from service.observability.observer import STAGES
from service.observability.request_log import RequestLog, configure_logging
from service.settings.model import Settings
from service.types import Timings
from tests.support.empty_bundle import empty_bundle
from tests.support.processes import until
from tests.support.tiny_service import ROOT, crop, encoded, service

pytestmark = pytest.mark.slow

TIMINGS = Timings(**dict.fromkeys(STAGES, 1.25))
READ: dict[str, Any] = {"request_id": "shop-42", "method": "POST", "route": "/v1/read", "seconds": 0.0504}


def line(settings: Settings, **request: Any) -> str:
    stream = io.StringIO()
    RequestLog(settings, stream).write(**{**READ, "status": 200, **request})
    return stream.getvalue()


@pytest.fixture
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line_says_how_a_request_went() -> None:
    entry = json.loads(
        line(Settings(log_format="json"), crops=1, body_bytes=5120, timings=TIMINGS, problem="queue-full")
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {
        "level": "info",
        "request_id": "shop-42",
        "method": "POST",
        "route": "/v1/read",
        "status": 200,
        "ms": 50.4,
        "crops": 1,
        "bytes": 5120,
        "problem": "queue-full",
        "timings_ms": dict.fromkeys(STAGES, 1.25),
    }


def test_a_text_line_is_made_of_words_with_an_equals_sign() -> None:
    written = line(Settings(), crops=1, timings=TIMINGS)
    assert written.startswith("abinet: time=")
    fields = dict(word.split("=") for word in written.removeprefix("abinet: ").split())
    assert (fields["status"], fields["route"], fields["queue"]) == ("200", "/v1/read", "1.25")


@pytest.mark.parametrize("settings", [Settings(access_log=False), Settings(log_level="warning")])
def test_the_lines_can_be_switched_off(settings: Settings) -> None:
    assert line(settings) == ""


@pytest.mark.parametrize("route", ["/health/ready", "/v2/health/live", "/metrics"])
def test_a_probe_is_logged_only_where_it_fails(route: str) -> None:
    assert line(Settings(), route=route) == ""
    assert "status=503" in line(Settings(), route=route, status=503)


def test_a_terminal_that_has_gone_away_fails_no_request() -> None:
    receiver, sender = os.pipe()
    os.close(receiver)
    stream = os.fdopen(sender, "w", buffering=1)
    RequestLog(Settings(), stream).write(**READ, status=200)
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def test_a_served_request_leaves_its_line_and_not_what_was_read(tmp_path: Path) -> None:
    empty_bundle(tmp_path)
    body = encoded(crop())
    with service("--engine", "simulated", "--bundle", str(tmp_path)) as running:
        answer = running.client.post("/v1/read", content=body, headers={"X-Request-ID": "shop-42"})
        running.stop()
        lines = "".join(running.lines)
    assert answer.json()["text"] == TEXT
    (found,) = re.findall(r".*request_id=shop-42.*", lines)
    assert "method=POST route=/v1/read status=200" in found
    assert f"crops=1 bytes={len(body)} decode=" in found
    assert TEXT not in found


def test_a_log_on_a_full_disk_fails_no_request(tmp_path: Path) -> None:
    empty_bundle(tmp_path)
    address = tmp_path / "socket"
    command = [sys.executable, "-m", "service", "serve", "--uds", str(address), "--engine", "simulated"]
    with (
        open("/dev/full", "w") as full,
        subprocess.Popen([*command, "--bundle", str(tmp_path)], cwd=ROOT, stderr=full) as serving,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(address)), base_url="http://a") as client,
    ):
        try:
            until(address.exists)
            until(lambda: client.get("/health/ready", timeout=60).status_code == 200)
            assert [client.post("/v1/read", content=encoded(crop())).status_code for _ in range(3)] == [
                200
            ] * 3
        finally:
            serving.terminate()
    assert serving.returncode == 0


@pytest.mark.usefixtures("_root_logger")
def test_messages_are_json_too_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(Settings(log_format="json"))
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("abinet").exception("engine worker %d failed", 7)
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["message"]) == ("error", "engine worker 7 failed")
    assert "ZeroDivisionError" in entry["traceback"]


@pytest.mark.usefixtures("_root_logger")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_name_that_is_no_text_can_be_logged(
    form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w+", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging(Settings.model_validate({"log_format": form}))
        logging.getLogger("abinet").warning("%s is no bundle", "/bundles/\udcff\x1b[2J")
        stream.seek(0)
        written = stream.read()
    assert "is no bundle" in written
    assert "\x1b" not in written


@pytest.mark.usefixtures("_root_logger")
def test_a_level_hides_what_is_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="warning"))
    logging.getLogger("abinet").info("hidden")
    logging.getLogger("abinet").warning("shown")
    assert capsys.readouterr().err == "abinet: shown\n"
