"""The bundled model: a checkpoint that becomes a bundle in the cache when it is first served."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import bundled
from service.bundle_format.hashes import sha256_of
from service.engines.bundle import Bundle
from tests.support.tiny_service import tiny_bundle, tiny_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _tiny_zoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundled, "_ZOO", tiny_checkpoint().parent)
    monkeypatch.setattr(bundled, "BATCH_SIZES", "1")
    monkeypatch.setenv("ABINET_CACHE", str(tmp_path))


def copied(python: str, checkpoint: Path, bundle: Path) -> None:
    """In place of an export, which takes longer."""
    shutil.copytree(tiny_bundle(), bundle, dirs_exist_ok=True)


def test_two_services_that_start_at_once_export_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(bundled.bundled_model, [sys.executable] * 2)
    assert one == other
    assert Bundle(str(one)).name == "abinet_small_en"
    assert caplog.text.count("exporting the bundled model") == 1


def test_the_caches_folder_names_checkpoint_and_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_export", lambda python, checkpoint, bundle: bundle.mkdir())
    files = (tiny_checkpoint(), tiny_checkpoint().with_suffix(".json"))
    weights, config = (sha256_of(file)[:12] for file in files)
    folder = bundled.bundled_model(sys.executable)
    assert folder.name.startswith(f"abinet_small_en-{weights}-{config}-mindspore-2.")


def test_a_bundle_that_was_damaged_is_exported_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_export", copied)
    folder = bundled.bundled_model(sys.executable)
    for name in ("vision.mindir", "manifest.json"):
        (folder / name).write_bytes(b"lost")
        assert bundled.bundled_model(sys.executable) == folder
        bundle = Bundle(str(folder))
        bundle.check_hashes(bundle.graphs)


def test_an_export_takes_the_place_of_what_is_there() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "_export", copied)
        folder = bundled.bundled_model(sys.executable)
    (folder / "vision.mindir").write_bytes(b"lost")
    assert bundled.bundled_model(sys.executable) == folder
    bundle = Bundle(str(folder))
    bundle.check_hashes(bundle.graphs)


def test_a_bundle_that_is_there_is_served_without_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "_export", copied)
    folder = bundled.bundled_model(sys.executable)
    (tmp_path / "bundles" / ".lock").unlink()
    assert bundled.bundled_model(sys.executable) == folder
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ABINET_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match=r"file/cache/bundles: cannot be written \(.*ABINET_CACHE$"):
        bundled.bundled_model(sys.executable)


def test_an_export_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "BATCH_SIZES", "none")
    with pytest.raises(ValueError, match="the export failed"):
        bundled.bundled_model(sys.executable)
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [".lock"]


def test_an_interpreter_without_mindspore_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="/bin/true: no MindSpore"):
        bundled.bundled_model("/bin/true")


def test_a_python_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="/no/such/python"):
        bundled.bundled_model("/no/such/python")


def test_a_missing_checkpoint_points_to_the_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundled, "_ZOO", tmp_path)
    with pytest.raises(ValueError, match=r"abinet_small_en\.ckpt.*--bundle"):
        bundled.bundled_model(sys.executable)
