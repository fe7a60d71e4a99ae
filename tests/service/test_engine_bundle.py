"""What the service accepts as a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle, check_release
from tests.support.tiny_service import tiny_bundle

pytestmark = pytest.mark.slow

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle(), tmp_path / "bundle"))


def edited(folder: Path, edit: Edit) -> str:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))
    return str(folder)


def test_a_bundle_tells_its_shapes(folder: Path) -> None:
    bundle = Bundle(str(folder))
    assert (bundle.steps, bundle.classes, bundle.features) == (26, 37, 16)
    assert bundle.input_shapes("vision") == [(3, 32, 128)]
    assert bundle.input_shapes("refine") == [(26, 37), (26, 16)]
    assert sorted(graph.batch for graph in bundle.graphs_of("vision")) == [1, 4]


def test_a_slot_of_the_arena_holds_the_largest_call(folder: Path) -> None:
    images = 4 * 4 * 3 * 32 * 128
    assert Bundle(str(folder)).call_bytes() >= images


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda manifest: manifest.update(format=2), "format 1"),
        (lambda manifest: manifest.pop("charset"), "charset"),
        (lambda manifest: manifest.update(version="\ud800"), "version is no printable text"),
        (lambda manifest: manifest.update(version="1\x1b[2J"), "version is no printable text"),
        (lambda manifest: manifest.update(version=1), "version is no printable text"),
        (lambda manifest: manifest.update(name=""), "name is no printable text"),
        (lambda manifest: manifest.update(charset="a\ud800"), "charset is no printable text"),
        (lambda manifest: manifest.update(iterations=-5), "iterations is no whole number from 0 on"),
        (lambda manifest: manifest.update(iterations=True), "iterations is no whole number"),
        (lambda manifest: manifest.update(max_length=0), "max_length is no whole number from 1 on"),
        (lambda manifest: manifest.update(features="16"), "features is no whole number"),
        (lambda manifest: manifest["input"].update(shape=[1, 3, 0, 128]), "no whole number from 1 on: 0"),
        (lambda manifest: manifest["graphs"][0].update(batch=0), "batch is no whole number from 1 on"),
        (lambda manifest: manifest["graphs"][0].update(file="../../etc/passwd"), "outside the bundle"),
        (
            lambda manifest: manifest["graphs"][0].update(file="gone.mindir"),
            "gone.mindir: named in the manifest",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_fault(folder: Path, edit: Edit, complaint: str) -> None:
    with pytest.raises(BundleError, match=complaint):
        Bundle(edited(folder, edit))


def test_a_manifest_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json: not JSON"):
        Bundle(str(folder))


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="abinet export"):
        Bundle(str(tmp_path))


def test_a_file_that_has_changed_is_noticed(folder: Path) -> None:
    with open(folder / "vision.mindir", "ab") as file:
        file.write(b"x")
    bundle = Bundle(str(folder))
    with pytest.raises(BundleError, match=r"vision\.mindir: its sha256"):
        bundle.check_hashes(bundle.graphs_of("vision"))


def test_compiled_graphs_are_preferred_where_they_are_wanted(folder: Path) -> None:
    (folder / "ascend").mkdir()
    shutil.copy(folder / "vision.mindir", folder / "ascend")
    entry = {"file": "ascend/vision.mindir", "graph": "vision", "batch": 1, "sha256": ""}
    bundle = Bundle(edited(folder, lambda manifest: manifest.update(ascend={"graphs": [entry]})))
    assert [graph.path for graph in bundle.graphs_of("vision", compiled=True)] == [
        str(folder / "ascend" / "vision.mindir")
    ]
    assert len(bundle.graphs_of("vision")) == 2


def written_by(folder: Path, release: str, version: int) -> Bundle:
    exporter = {"mindspore": release, "mind_ir_version": version}
    return Bundle(edited(folder, lambda manifest: manifest.update(exporter=exporter)))


@pytest.mark.parametrize(
    ("written", "version", "package", "release"),
    [
        ("2.8.0", 3, "MindSpore", "2.8.1"),
        ("2.0.0", 1, "MindSpore Lite", "2.0.0"),
        ("2.5.0", 2, "MindSpore Lite", "2.5.0"),
    ],
)
def test_a_release_reads_what_its_own_kind_wrote(
    folder: Path, written: str, version: int, package: str, release: str
) -> None:
    check_release(written_by(folder, written, version), package, release)


@pytest.mark.parametrize(
    ("written", "version", "package", "release"),
    [
        ("2.8.0", 3, "MindSpore Lite", "2.0.0"),
        ("2.0.0", 1, "MindSpore", "2.8.0"),
        ("2.5.0", 2, "MindSpore", "2.8.0"),
        ("2.7.2", 3, "MindSpore", "2.8.0"),
    ],
)
def test_a_mindir_of_another_release_is_refused_with_both_releases_and_the_remedy(
    folder: Path, written: str, version: int, package: str, release: str
) -> None:
    with pytest.raises(BundleError, match=f"MindSpore {written}.*{package} {release}.*--worker-python"):
        check_release(written_by(folder, written, version), package, release)
