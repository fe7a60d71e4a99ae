"""From a checkpoint to a bundle: what is written and compared, and that a mistake leaves nothing behind."""

import contextlib
import io
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from export.bundle import check_hashes, new_bundle
from export.graphs import GRAPHS, FoldedAttention, fold_attention, fold_batch_norm
from models.abinet.abinet import ABINet
from models.abinet.language import LanguageModel
from models.checkpoints.checkpoint import load_checkpoint
from service.bundle_format.hashes import sha256_of
from service.bundle_format.manifest import BundleError, Manifest, read_manifest
from service.cli import main
from tests.support.tiny_service import tiny_bundle, tiny_checkpoint
from tests.support.tiny_training import TINY

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def abinet(*arguments: object, **environment: str) -> Done:
    """The command in this process, which has imported MindSpore: that takes longer than most of them."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def assert_refused(done: Done, *words: str) -> None:
    """Exit code 2 and one line on standard error that says all of ``words``."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("abinet: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(tiny_bundle())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_bundle(), tmp_path / "bundle"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy to spoil."""
    for suffix in (".ckpt", ".json"):
        shutil.copy(tiny_checkpoint().with_suffix(suffix), tmp_path / f"tiny{suffix}")
    return tmp_path / "tiny.ckpt"


def test_a_bundle_holds_every_graph_at_batch_one_and_at_those_asked_for(manifest: Manifest) -> None:
    assert {(graph["graph"], graph["batch"]) for graph in manifest["graphs"]} == {
        (graph, batch) for graph in GRAPHS for batch in (1, 4)
    }


def test_the_manifest_has_the_hash_of_every_file(manifest: Manifest) -> None:
    files = {entry["file"]: entry["sha256"] for entry in [*manifest["graphs"], manifest["reference"]]}
    found = {path.name: sha256_of(path) for path in tiny_bundle().iterdir() if path.name != "manifest.json"}
    assert files == found


def test_no_graph_differs_from_the_network_by_more_than_rounding(manifest: Manifest) -> None:
    assert all(graph["max_difference"] <= 1e-4 for graph in manifest["graphs"])


def test_graphs_were_compared_on_random_and_on_real_images(manifest: Manifest) -> None:
    assert manifest["reference"]["random_images"] >= 4
    assert manifest["reference"]["real_images"] >= 1


def test_the_manifest_says_which_release_wrote_the_graphs(manifest: Manifest) -> None:
    assert manifest["exporter"]["mindspore"] == ms.__version__
    assert manifest["exporter"]["mind_ir_version"] == 3


def test_the_whole_graph_takes_one_image_and_answers_like_the_network() -> None:
    image = np.random.default_rng(5).normal(size=(1, 3, 32, 128)).astype(np.float32)
    graph = nn.GraphCell(ms.load(str(tiny_bundle() / "abinet.mindir")))
    network, _ = load_checkpoint(tiny_checkpoint())
    for got, wanted in zip(graph(Tensor(image)), network(Tensor(image)), strict=True):
        np.testing.assert_allclose(got.asnumpy(), wanted.asnumpy(), atol=1e-4)


def test_graphs_may_be_read_by_another_user_than_the_one_who_exported() -> None:
    assert all(path.stat().st_mode & stat.S_IROTH for path in tiny_bundle().iterdir())


def test_folding_leaves_no_batch_norm_and_changes_no_answer() -> None:
    image = Tensor(np.random.default_rng(6).normal(size=(2, 3, 32, 128)).astype(np.float32))
    network, _ = load_checkpoint(tiny_checkpoint())
    folded, _ = load_checkpoint(tiny_checkpoint())
    for either in (network, folded):
        for parameter in either.get_parameters():
            if parameter.name.endswith(("moving_mean", "beta")):
                parameter.set_data(Tensor(np.full(parameter.shape, 0.3, np.float32)))
            elif parameter.name.endswith(("moving_variance", "gamma")):
                parameter.set_data(Tensor(np.full(parameter.shape, 1.7, np.float32)))
    fold_batch_norm(folded)
    assert not [cell for _, cell in folded.cells_and_names() if isinstance(cell, nn.BatchNorm2d)]
    for got, wanted in zip(folded(image), network(image), strict=True):
        np.testing.assert_allclose(got.asnumpy(), wanted.asnumpy(), atol=1e-4)


def test_folded_attention_changes_no_answer_whatever_the_biases() -> None:
    rng = np.random.default_rng(8)
    layer = LanguageModel(TINY).decoder[0].attention
    for parameter in layer.get_parameters():
        parameter.set_data(Tensor(rng.normal(scale=0.3, size=parameter.shape).astype(np.float32)))
    query, memory = (Tensor(rng.normal(size=(3, 5, 16)).astype(np.float32)) for _ in range(2))
    mask = Tensor(np.where(rng.random((3, 1, 5, 5)) < 0.3, -1e4, 0).astype(np.float32))
    np.testing.assert_allclose(
        FoldedAttention(layer)(query, memory, mask).asnumpy(), layer(query, memory, mask).asnumpy(), atol=1e-4
    )


def test_attention_is_folded_only_if_no_product_gets_larger() -> None:
    for heads, folded in ((2, True), (4, False)):
        network = ABINet(replace(TINY, heads=heads))
        fold_attention(network)
        assert all(
            isinstance(layer.attention, FoldedAttention) == folded for layer in network.language.decoder
        )


def test_half_precision_is_smaller_and_reports_what_rounding_changes(tmp_path: Path) -> None:
    done = abinet("export", tiny_checkpoint(), "--output", tmp_path / "half", "--precision", "fp16")
    assert done.returncode == 0, done.stderr
    half = read_manifest(tmp_path / "half")
    assert half["precision"] == "fp16"
    assert 0 < half["precision_difference"]["largest_logit_difference"] < 0.1
    whole = (tiny_bundle() / "abinet.mindir").stat().st_size
    assert (tmp_path / "half" / "abinet.mindir").stat().st_size < whole


def test_an_existing_bundle_is_replaced_only_when_forced(bundle: Path) -> None:
    before = sha256_of(bundle / "manifest.json")
    assert_refused(abinet("export", tiny_checkpoint(), "--output", bundle), "exists", "--force")
    assert sha256_of(bundle / "manifest.json") == before
    assert abinet("export", tiny_checkpoint(), "--output", bundle, "--force").returncode == 0
    assert sha256_of(bundle / "manifest.json") != before
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    done = abinet("export", tiny_checkpoint(), "--output", tmp_path / "photos", "--force")
    assert_refused(done, "not a bundle")
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"precious"


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), new_bundle(tmp_path / "new", force=False) as part:
        (part / "vision.mindir").write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 kB, less than the tiny network's graphs need."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_behind(full_disk: Path) -> None:
    done = abinet("export", tiny_checkpoint(), "--output", full_disk / "new")
    assert_refused(done, "make room")
    assert list(full_disk.iterdir()) == []


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    done = abinet("export", tmp_path / "nowhere.ckpt", "--output", tmp_path / "new")
    assert_refused(done, "nowhere.ckpt", "no such file")


def test_a_truncated_checkpoint_is_named(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    done = abinet("export", checkpoint, "--output", checkpoint.parent / "new")
    assert_refused(done, "tiny.ckpt", "truncated")
    assert not (checkpoint.parent / "new").exists()


def test_a_config_of_another_size_is_an_error_that_lists_the_parameters(checkpoint: Path) -> None:
    config = checkpoint.with_suffix(".json")
    values = json.loads(config.read_text())
    values["network"]["vision_layers"] = 2
    config.write_text(json.dumps(values))
    done = abinet("export", checkpoint, "--output", checkpoint.parent / "new")
    assert_refused(done, "tiny.ckpt", "missing", "vision.encoder.1.")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    done = abinet("export", tiny_checkpoint(), "--output", tmp_path / "new", "--images", tmp_path)
    assert_refused(done, "image in it that can be decoded")


@pytest.mark.parametrize("sizes", ["4,x", "0", "4096"])
def test_unusable_batch_sizes_are_refused(tmp_path: Path, sizes: str) -> None:
    done = abinet("export", tiny_checkpoint(), "--output", tmp_path / "new", "--batch-sizes", sizes)
    assert done.returncode == 2
    assert "batch-sizes" in done.stderr.replace("\n", " ")


def test_ascend_without_the_converter_is_one_sentence_and_no_output(tmp_path: Path) -> None:
    done = abinet(
        "export", tiny_checkpoint(), "--output", tmp_path / "new", "--ascend", PATH="", LITE_HOME=""
    )
    assert_refused(done, "converter_lite", "LITE_HOME")
    assert list(tmp_path.iterdir()) == []


def test_ascend_without_cann_is_one_sentence_and_no_output(tmp_path: Path) -> None:
    converter = write_converter(tmp_path, "exit 0")
    done = abinet(
        "export", tiny_checkpoint(), "--output", tmp_path / "new", "--ascend",
        PATH=str(converter.parent), ASCEND_HOME_PATH="", ASCEND_TOOLKIT_HOME="",
    )  # fmt: skip
    assert_refused(done, "CANN", "set_env.sh")
    assert not (tmp_path / "new").exists()


def test_a_failing_converter_is_quoted_and_leaves_no_output(tmp_path: Path) -> None:
    converter = write_converter(tmp_path, "echo E19999: no such soc; exit 3")
    path = f"{converter.parent}:{os.environ['PATH']}"
    done = abinet(
        "export",
        tiny_checkpoint(),
        "--output",
        tmp_path / "new",
        "--ascend",
        PATH=path,
        ASCEND_HOME_PATH="/cann",
    )
    assert_refused(done, "converter_lite", "E19999")
    assert not (tmp_path / "new").exists()


def write_converter(folder: Path, script: str) -> Path:
    """A stand-in for MindSpore Lite's converter, which does what ``script`` says."""
    path = folder / "bin" / "converter_lite"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_inspect_says_what_a_bundle_is() -> None:
    done = abinet("inspect", tiny_bundle())
    assert done.returncode == 0
    for fact in ("abinet_small_en", "MindSpore 2.8", "normalised", "refine_b4.mindir", "abcdefghij"):
        assert fact in done.stdout


def test_inspect_prints_the_manifest_for_scripts(manifest: Manifest) -> None:
    assert json.loads(abinet("inspect", tiny_bundle(), "--json").stdout) == manifest


def test_inspect_refuses_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    assert_refused(abinet("inspect", tmp_path), str(tmp_path), "not a bundle")


def test_verify_runs_every_graph_again(manifest: Manifest) -> None:
    done = abinet("verify", tiny_bundle())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("largest difference") == len(manifest["graphs"])


def test_verify_names_a_changed_file(bundle: Path) -> None:
    with (bundle / "vision.mindir").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\0\0\0")
    assert_refused(abinet("verify", bundle), "vision.mindir", "changed")


def test_verify_names_a_missing_file(bundle: Path) -> None:
    (bundle / "refine_b4.mindir").unlink()
    assert_refused(abinet("verify", bundle), "refine_b4.mindir", "missing")


def test_verify_notices_a_graph_that_answers_otherwise(bundle: Path) -> None:
    """Even if someone has put the right hash into the manifest."""
    reference = dict(np.load(bundle / "reference.npz"))
    reference["outputs"] = reference["outputs"] + np.float32(0.01)
    np.savez_compressed(bundle / "reference.npz", **reference)
    values = json.loads((bundle / "manifest.json").read_text())
    values["reference"]["sha256"] = sha256_of(bundle / "reference.npz")
    (bundle / "manifest.json").write_text(json.dumps(values))
    assert_refused(abinet("verify", bundle), "differs by 1.0e-02")


def test_verify_refuses_a_bundle_of_another_release(bundle: Path) -> None:
    values = json.loads((bundle / "manifest.json").read_text())
    values["exporter"]["mindspore"] = "2.0.0"
    (bundle / "manifest.json").write_text(json.dumps(values))
    assert_refused(abinet("verify", bundle), "written by MindSpore 2.0.0", "export the checkpoint again")


def test_a_manifest_that_names_a_file_outside_the_bundle_is_refused(bundle: Path) -> None:
    values = json.loads((bundle / "manifest.json").read_text())
    values["graphs"][0]["file"] = "../../etc/passwd"
    (bundle / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="outside the bundle"):
        read_manifest(bundle)


def test_hashes_of_an_untouched_bundle_agree(manifest: Manifest) -> None:
    check_hashes(tiny_bundle(), manifest)
