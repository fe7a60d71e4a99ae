"""A real engine worker in its own process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.engines.connection import CallError, WorkerDiedError
from service.engines.engine import Cost, EngineOptions
from service.engines.process import EngineProcess
from tests.support.tiny_service import crop, service, tiny_bundle

pytestmark = pytest.mark.slow

MINDSPORE, LITE = EngineOptions(), EngineOptions(engine="lite")
IMAGES = np.random.default_rng(0).normal(size=(4, 3, 32, 128)).astype(np.float32)


def started(bundle: Path, options: EngineOptions, python: str = sys.executable) -> EngineProcess:
    worker = EngineProcess(Bundle(str(bundle)), options, python)
    try:
        worker.load()
    except BaseException:
        worker.kill()
        raise
    return worker


@pytest.fixture(scope="module", params=["mindspore", pytest.param("lite", marks=pytest.mark.lite)])
def worker(request: pytest.FixtureRequest) -> Iterator[EngineProcess]:
    if request.param == "mindspore":
        running = started(tiny_bundle(), MINDSPORE)
    else:
        python = str(request.getfixturevalue("lite_python"))
        running = started(tiny_bundle(python), LITE, python)
    yield running
    running.close()


def test_vision_gives_logits_and_features(worker: EngineProcess) -> None:
    logits, features = worker.run("vision", [IMAGES[:1]]).tensors
    assert (logits.shape, features.shape) == ((1, 26, 37), (1, 26, 16))


def test_refine_gives_language_and_fused_logits(worker: EngineProcess) -> None:
    language, fused = worker.run("refine", worker.run("vision", [IMAGES[:1]]).tensors).tensors
    assert (language.shape, fused.shape) == ((1, 26, 37), (1, 26, 37))


def test_reading_in_one_call_gives_what_the_graphs_give_one_by_one(worker: EngineProcess) -> None:
    logits, features = worker.run("vision", [IMAGES]).tensors
    language, fused = worker.run("refine", [logits, features]).tensors
    expected = [logits, language, fused, *worker.run("refine", [fused, features]).tensors]
    answer = worker.run("read", [IMAGES], times=2)
    np.testing.assert_array_equal(answer.tensors, expected)
    assert list(answer.took) == ["vision", "refine"]
    assert list(worker.run("read", [IMAGES], times=0).took) == ["vision"]


def test_a_batch_gives_what_its_images_give_alone(worker: EngineProcess) -> None:
    together = worker.run("vision", [IMAGES]).tensors[0]
    alone = np.concatenate([worker.run("vision", [image[None]]).tensors[0] for image in IMAGES])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_batch_size_that_the_bundle_lacks_fails_the_call_and_not_the_worker(worker: EngineProcess) -> None:
    with pytest.raises(CallError, match="3"):
        worker.run("vision", [IMAGES[:3]])
    assert worker.run("vision", [IMAGES[:1]]).tensors


def test_an_image_of_another_size_fails_the_call_and_not_the_worker(worker: EngineProcess) -> None:
    with pytest.raises(CallError):
        worker.run("vision", [IMAGES[:1, :, :16]])
    assert worker.run("vision", [IMAGES[:1]]).tensors


def test_a_worker_that_is_ready_early_compiles_the_other_batch_sizes_when_a_call_wants_them() -> None:
    worker = EngineProcess(Bundle(str(tiny_bundle())), MINDSPORE)
    try:
        assert {cost.batch for cost in worker.load(early=True).costs} == {1}
        assert worker.run("vision", [IMAGES]).tensors[0].shape == (4, 26, 37)
    finally:
        worker.kill()


def test_a_worker_that_is_ready_early_compiles_the_other_batch_sizes_while_idle_and_tells_their_costs() -> (
    None
):
    worker = EngineProcess(Bundle(str(tiny_bundle())), MINDSPORE)
    try:
        worker.load(early=True)
        costs: list[Cost] = []
        end = time.monotonic() + 30
        while {cost.kind for cost in costs} < {"vision", "refine"} and time.monotonic() < end:
            time.sleep(0.2)
            costs += worker.run("vision", [IMAGES[:1]]).costs
        assert sorted((cost.kind, cost.batch) for cost in costs) == [("refine", 4), ("vision", 4)]
    finally:
        worker.kill()


def test_a_worker_under_full_load_compiles_the_other_batch_sizes_between_calls() -> None:
    worker = EngineProcess(Bundle(str(tiny_bundle())), MINDSPORE)
    try:
        worker.load(early=True)
        costs: list[Cost] = []
        end = time.monotonic() + 30
        worker.send("vision", [IMAGES[:1]], 1)
        while len(costs) < 2 and time.monotonic() < end:
            worker.send("vision", [IMAGES[:1]], 1)  # so that a call waits whenever one is answered
            costs += worker.receive(10).costs
        assert sorted((cost.kind, cost.batch) for cost in costs) == [("refine", 4), ("vision", 4)]
    finally:
        worker.kill()


@pytest.mark.lite
def test_lite_over_http_reads_as_mindspore_does(lite_python: Path) -> None:
    python = str(lite_python)
    with (
        service("--bundle", str(tiny_bundle())) as mindspore,
        service("--bundle", str(tiny_bundle(python)), "--engine", "lite", "--worker-python", python) as lite,
    ):
        expected, result = mindspore.read(crop()).json(), lite.read(crop()).json()
    assert result["text"] == expected["text"]
    assert result["confidence"] == pytest.approx(expected["confidence"], abs=1e-4)


@pytest.mark.lite
def test_lite_refuses_a_mindir_of_another_release(lite_python: Path) -> None:
    with pytest.raises(BundleError, match="cannot read"):
        started(tiny_bundle(), LITE, str(lite_python))


def test_an_engine_that_is_not_installed_is_named() -> None:
    with pytest.raises(BundleError, match=r"the lite engine cannot start.*--worker-python"):
        started(tiny_bundle(), LITE)


def test_a_graph_file_that_is_broken_is_refused(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle(), tmp_path / "bundle"))
    (bundle / "vision.mindir").write_bytes(b"no graph")
    manifest = json.loads((bundle / "manifest.json").read_text())
    for graph in manifest["graphs"]:
        if graph["file"] == "vision.mindir":
            graph["sha256"] = hashlib.sha256(b"no graph").hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"vision\.mindir: MindSpore .* refuses it"):
        started(bundle, MINDSPORE)


def test_a_worker_that_is_killed_is_reported_with_the_signal() -> None:
    worker = started(tiny_bundle(), MINDSPORE)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="signal 9"):
        worker.run("vision", [IMAGES[:1]])
    assert not worker.is_alive()


def test_a_worker_that_hangs_is_killed() -> None:
    worker = started(tiny_bundle(), MINDSPORE)
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerDiedError, match="no answer"):
        worker.run("vision", [IMAGES[:1]], timeout=0.2)
    assert not worker.is_alive()


def test_a_worker_that_no_signal_ends_is_waited_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engines.process.DEATH_S", 0.2)
    worker = started(tiny_bundle(), MINDSPORE)
    end = worker._process.kill
    os.kill(worker.pid, signal.SIGSTOP)
    with monkeypatch.context() as immortal:
        immortal.setattr(worker._process, "kill", lambda: None)
        began = time.monotonic()
        worker.close(timeout=0.2)
        worker.kill()
        assert time.monotonic() - began < 5
        assert worker.is_alive()
    end()
    worker.wait()


def test_a_closed_worker_ends_by_itself_with_0() -> None:
    worker = started(tiny_bundle(), MINDSPORE)
    worker.close()
    assert worker.wait() == 0


def test_a_python_that_does_not_exist_is_named() -> None:
    with pytest.raises(BundleError, match="/no/such/python"):
        EngineProcess(Bundle(str(tiny_bundle())), MINDSPORE, "/no/such/python")
