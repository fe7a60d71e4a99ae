"""Which engine `auto` stands for."""

import json
from pathlib import Path

import pytest

from service.engine_choice import chosen, lite_directory
from service.settings.model import Settings
from tests.support.empty_bundle import empty_bundle


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABINET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def lite(cache: Path) -> Path:
    """The interpreter of an environment of MindSpore Lite."""
    python = lite_directory() / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def bundle_of(folder: Path, release: str) -> Path:
    manifest = empty_bundle(folder).manifest
    (folder / "manifest.json").write_text(json.dumps({**manifest, "exporter": {"mindspore": release}}))
    return folder


def test_without_lite_it_is_mindspore_and_the_reason_names_the_command(cache: Path) -> None:
    settings, reason = chosen(Settings())
    assert settings.engine == "mindspore"
    assert "`abinet lite`" in reason


def test_lite_runs_the_bundled_model_where_its_environment_is(lite: Path) -> None:
    settings, _ = chosen(Settings())
    assert (settings.engine, settings.worker_python) == ("lite", str(lite))


@pytest.mark.parametrize(("release", "engine"), [("2.0.0", "lite"), ("2.8.0", "mindspore")])
def test_a_bundle_is_run_by_what_can_read_it(lite: Path, tmp_path: Path, release: str, engine: str) -> None:
    assert chosen(Settings(bundle=bundle_of(tmp_path, release))).settings.engine == engine


def test_an_engine_that_is_named_is_that_one(lite: Path) -> None:
    assert chosen(Settings(engine="mindspore")).settings == Settings(engine="mindspore")


def test_an_interpreter_that_is_named_keeps_mindspore(lite: Path) -> None:
    assert chosen(Settings(worker_python="/usr/bin/python3")).settings.engine == "mindspore"


def test_a_bundle_that_cannot_be_read_leaves_its_fault_to_the_start(lite: Path, tmp_path: Path) -> None:
    assert chosen(Settings(bundle=tmp_path / "nothing")).settings.engine == "mindspore"
