"""A front's line to a worker that others keep alive: lines that break while they are made leave nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engines.protocol import listening_at
from service.workers.attached import RemoteEngine
from tests.support.waiting import until

HELLO = json.dumps({"release": "fake", "costs": []}).encode()
FAULTS: dict[str, Callable[[socket.socket], object]] = {
    "closes at once": lambda line: None,
    "closes when it has been asked": lambda line: line.recv(1 << 16),
    "says what is no JSON": lambda line: line.send(b"{"),
    "says nothing of what it has loaded": lambda line: line.send(b"{}"),
    "refuses": lambda line: line.send(b'{"refused": "no such bundle"}'),
    "fails": lambda line: line.send(b'{"failed": "no room"}'),
}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("fault", list(FAULTS))
async def test_a_worker_whose_lines_break_is_tried_again_and_no_descriptor_leaks(
    fault: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "engine")
    over = threading.Event()
    with listening_at(path) as listener:

        def play() -> None:
            for _ in range(3):
                line, _ = listener.accept()
                with line:
                    FAULTS[fault](line)
            line, _ = listener.accept()
            with line:
                line.send(HELLO)
                over.wait(30)

        playing = threading.Thread(target=play)

        before = open_files()
        playing.start()
        engine = RemoteEngine(path, 4096, is_failing=lambda: False)
        assert (await asyncio.wait_for(engine.start(), 20)).release == "fake"
        await engine.wait_until_ready()
        assert engine.ready
        await engine.close()
        over.set()
        playing.join()
        gc.collect()  # the memory of a line goes with its last tensor
        await until(lambda: open_files() == before)
