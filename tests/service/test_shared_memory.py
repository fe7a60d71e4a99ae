"""A /dev/shm that is too small: a service in a mount namespace of its own, which needs root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.engines.connection import EngineError
from service.engines.process import arena_file
from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import ROOT

pytestmark = pytest.mark.slow

SERVE = [sys.executable, "-m", "service", "serve", "--port", "0", "--engine", "simulated", "--bundle"]


def served_with(shared_memory: str, bundle: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a service with so much of it, within 20 seconds."""
    mount = f'mount -t tmpfs -o size={shared_memory} tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", "timeout", "20", *SERVE, bundle]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("mounting a small /dev/shm needs root")
    return done


def test_a_shared_memory_that_is_too_small_ends_the_start_with_one_line(tmp_path: Path) -> None:
    done = served_with("500k", empty_bundle(tmp_path).folder)
    assert done.returncode == 2
    assert "0.5 MiB are free and" in done.stderr.splitlines()[-1]
    assert "--shm-size" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_little_more_than_is_needed_is_enough(tmp_path: Path) -> None:
    done = served_with("2m", empty_bundle(tmp_path).folder)
    assert "is ready after" in done.stderr


def test_memory_is_there_before_anybody_writes_into_it() -> None:
    with arena_file(4096) as file:
        assert Path(f"/proc/self/fd/{file.fileno()}").stat().st_blocks * 512 >= 4096
    with pytest.raises(EngineError, match="no room for"), arena_file(1 << 50):
        pass
