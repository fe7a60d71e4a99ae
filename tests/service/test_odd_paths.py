"""Folders whose names a program does not expect: spaces, umlauts, signs, great length."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import crop, encoded, tiny_checkpoint

pytestmark = pytest.mark.slow


def abinet(*words: object, cwd: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "service", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bundle_is_exported_verified_and_served_under_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b+ü'&%s{}"
    folder.mkdir()
    for suffix in (".ckpt", ".json"):
        shutil.copy(tiny_checkpoint().with_suffix(suffix), folder / f"my ü+{suffix}")
    (folder / "crop.png").write_bytes(encoded(crop()))
    bundle = folder / "bun dle+ü"
    abinet("export", folder / "my ü+.ckpt", "--output", bundle, cwd=tmp_path)
    assert "verified" in abinet("verify", bundle, cwd=tmp_path)
    table = abinet("read", folder / "crop.png", "--bundle", bundle, cwd=folder, TMPDIR=str(folder))
    assert len(table.splitlines()) == 2


def test_a_tmpdir_that_is_too_long_for_a_socket_does_no_harm(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 130)
    long.mkdir()
    (tmp_path / "bundle").mkdir()
    bundle = empty_bundle(tmp_path / "bundle").folder
    (tmp_path / "crop.png").write_bytes(encoded(crop()))
    words = ("read", "crop.png", "--bundle", bundle, "--engine", "simulated")
    assert "simulated" in abinet(*words, cwd=tmp_path, TMPDIR=str(long))
