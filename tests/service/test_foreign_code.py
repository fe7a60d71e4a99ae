"""Code that lies in the user's folder, or on PYTHONPATH under our names, is never run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import ROOT, crop, encoded, tiny_bundle

pytestmark = pytest.mark.slow

NAMES = (
    *("service", "models", "export", "abinet", "abinet_client", "numpy", "cv2", "httpx"),
    *("types", "struct", "random", "json", "socket", "runpy", "base64", "logging", "tempfile"),
    *("multiprocessing", "pickle", "queue", "threading", "signal"),
)
COMMAND = str(Path(sys.executable).parent / "abinet")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Has a module of each name, which tells in a file that it has run."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r} + chr(10))\nraise SystemExit(9)\n"
        )
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "crop.png").write_bytes(encoded(crop()))
    (tmp_path / "crops" / "labels.tsv").write_text("crop.png\tsimulated\n")
    yield tmp_path
    ran = tmp_path / "ran"
    assert not ran.exists(), ran.read_text()


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, *words], cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_folder_of_modules_is_read(folder: Path) -> None:
    (folder / "bundle").mkdir()
    bundle = empty_bundle(folder / "bundle").folder
    options = ("--bundle", bundle, "--engine", "simulated", "--report", "report.html")
    assert "simulated" in run(folder, "read", "crops", *options).stdout
    assert "<img" in (folder / "report.html").read_text()


def test_two_fronts_start_in_a_folder_of_modules(folder: Path) -> None:
    (folder / "bundle").mkdir()
    bundle = empty_bundle(folder / "bundle").folder
    options = ("--port", "0", "--bundle", bundle, "--engine", "simulated", "--fronts", "2")
    serving = subprocess.Popen([COMMAND, "serve", *options], cwd=folder, stderr=subprocess.PIPE, text=True)
    assert serving.stderr
    lines = []
    for line in serving.stderr:
        lines.append(line)
        if "is ready after" in line:
            serving.terminate()
    assert serving.wait(60) == 0, lines


def test_a_bundle_is_evaluated_in_a_folder_of_modules(folder: Path) -> None:
    assert "crops" in run(folder, "eval", str(tiny_bundle()), "crops").stdout


def test_words_are_rendered_in_a_folder_of_modules(folder: Path, fonts: list[Path]) -> None:
    # Two fonts, because a look at all of a machine's takes longest.
    run(folder, "data", "render", "--count", "4", "--output", "words", "--fonts", str(fonts[0].parent))


def test_the_processes_that_make_batches_start_in_a_folder_of_modules(folder: Path, tmp_path: Path) -> None:
    """As training starts them, but without what `abinet` sets for Python 3.11 and later."""
    (tmp_path / "elsewhere").mkdir()
    script = tmp_path / "elsewhere" / "batches.py"
    script.write_text(f"""
import os, sys
sys.path[0] = {str(ROOT)!r}
from service.bundle_format.preprocessing import Preprocessing
from models.training.batches import CropBatches, batches_ahead
from tests.support.tiny_training import TINY, Letters

if __name__ == "__main__":
    made = batches_ahead(CropBatches(Letters("a"), TINY, Preprocessing(), 2), first=0, workers=2)
    assert [len(next(made).inputs) for _ in range(4)] == [2] * 4
    assert os.getcwd() == {str(folder)!r}
""")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run([sys.executable, str(script)], cwd=folder, env=environment, check=True)


def test_pythonpath_does_not_replace_the_projects_packages(tmp_path: Path) -> None:
    for name in ("service", "models", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(9)\n")
    (tmp_path / "crop.png").write_bytes(encoded(crop()))
    (tmp_path / "bundle").mkdir()
    bundle = empty_bundle(tmp_path / "bundle").folder
    path = {"PYTHONPATH": str(tmp_path)}
    assert run(tmp_path, "doctor", "--help", **path).stdout
    options = ("--bundle", bundle, "--engine", "simulated")
    assert "simulated" in run(tmp_path, "read", "crop.png", *options, **path).stdout
