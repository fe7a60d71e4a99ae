"""Both frameworks: one recipe, one step, the same losses and gradients; neither needs the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import TINY

torch = pytest.importorskip("torch")

from models.abinet import NETWORKS  # noqa: E402
from models.importers import from_official  # noqa: E402
from models.training.backends import Backend, averaging_share, open_backend  # noqa: E402
from models.training.batches import Batch  # noqa: E402
from models.training.recipe import Recipe, Stage  # noqa: E402

PROJECT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("mindspore", "torch")
STAGES = ("language", "vision", "joint")
RATE = 0.01


@pytest.fixture(autouse=True, scope="module")
def _tiny_network() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", TINY)
        yield


def recipe(framework: str, **train: Any) -> Recipe:
    stages = [{"stage": "joint", "steps": 1, "lr": RATE}]
    return Recipe.model_validate(
        {
            "network": "tiny",
            "system": {"seed": 1, "framework": framework, "amp_level": "O0"},
            "common": {"batch_size": 4},
            "train": {"stages": stages, **train},
        }
    )


def batch(stage: str, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 12, 4).astype(np.int32)
    labels = rng.integers(1, TINY.classes, (4, TINY.steps)).astype(np.int32)
    labels[np.arange(TINY.steps) >= lengths[:, None] - 1] = 0
    if stage != "language":
        return Batch(rng.normal(size=(4, 3, 32, 128)).astype(np.float32), labels, lengths)
    inputs = rng.uniform(size=(4, TINY.steps, TINY.classes)).astype(np.float32)
    return Batch(inputs / inputs.sum(-1, keepdims=True), labels, lengths)


def begun(framework: str, stage: str, steps: int = 3, **train: Any) -> Backend:
    """A backend with weights that both frameworks have alike, at the beginning of a stage."""
    backend = open_backend(recipe(framework, **train))
    rng = np.random.default_rng(3)
    weights = {
        name: value if name.endswith(("pe", "moving_variance", "gamma")) else value + spread(rng, value)
        for name, value in zeros(backend).items()
    }
    backend.load(weights, "the test's weights")
    backend.begin(Stage(stage=stage, steps=steps, lr=RATE, batch_size=4), [RATE] * steps, seed=1)
    return backend


def zeros(backend: Backend) -> dict[str, np.ndarray]:
    kept = ("pe", "moving_variance", "gamma")
    given = sorted(backend.parameters().items())
    return {name: value.copy() if name.endswith(kept) else np.zeros_like(value) for name, value in given}


def spread(rng: np.random.Generator, value: np.ndarray) -> np.ndarray:
    return rng.normal(0.0, 0.2, value.shape).astype(np.float32)


def gradients(backend: Any, stage: str) -> dict[str, np.ndarray]:
    """By native name, of the weights that the stage trains, before clipping."""
    if hasattr(backend, "averaged"):
        inputs, labels, lengths = backend._on_device(batch(stage))
        backend._backward(backend.network, inputs, labels, lengths, bfloat16=False)
        named = backend.network.named_parameters()
        return from_official({name: p.grad.numpy() for name, p in named if p.grad is not None})
    from mindspore import Tensor

    _, found = backend.step_cell.forward_and_gradients(*map(Tensor, batch(stage)[:3]))
    names = [parameter.name for parameter in backend.step_cell.optimizer.parameters]
    return {name: gradient.asnumpy() for name, gradient in zip(names, found, strict=True)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_of_both_frameworks_has_the_same_gradients(stage: str) -> None:
    """Within 1e-4 of the largest gradient of all."""
    ours, theirs = (gradients(begun(framework, stage), stage) for framework in FRAMEWORKS)
    assert sorted(ours) == sorted(theirs)
    largest = max(np.abs(value).max() for value in ours.values())
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, atol=1e-4 * largest, rtol=0, err_msg=name)


@pytest.mark.parametrize("stage", STAGES)
def test_the_losses_of_both_frameworks_stay_together(stage: str) -> None:
    """Within 1e-4 at the first step, and within 1 % after two, with weight decay and a clipped norm."""
    curves = []
    for framework in FRAMEWORKS:
        backend = begun(framework, stage, weight_decay=0.1, clip_norm=0.5)
        curves.append([float(backend.step(batch(stage, seed))) for seed in range(3)])
    np.testing.assert_allclose(curves[0][0], curves[1][0], rtol=1e-4)
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.01)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_weight_decay_shrinks_matrices_and_leaves_vectors(framework: str) -> None:
    plain, shrunk = (begun(framework, "vision", weight_decay=decay) for decay in (0.0, 10.0))
    before = plain.parameters()["vision.cls.weight"].copy()
    for backend in (plain, shrunk):
        backend.step(batch("vision"))
    stepped, decayed = plain.parameters(), shrunk.parameters()
    np.testing.assert_allclose(
        decayed["vision.cls.weight"], stepped["vision.cls.weight"] - 10.0 * RATE * before, atol=1e-6
    )
    np.testing.assert_array_equal(decayed["vision.cls.bias"], stepped["vision.cls.bias"])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_average_follows_the_weights(framework: str) -> None:
    averaging, plain = begun(framework, "vision", average=0.9), begun(framework, "vision")
    expected = {name: value.copy() for name, value in plain.parameters().items()}
    for step in range(3):
        for backend in (averaging, plain):
            backend.step(batch("vision", step))
        for name, value in plain.parameters().items():
            expected[name] = expected[name] + averaging_share(step, 0.9) * (value - expected[name])
    for name, value in averaging.parameters().items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_average_reads_and_the_next_stage_starts_from_it(framework: str) -> None:
    backend = begun(framework, "vision", average=0.9)
    images = batch("vision").inputs
    before = backend.read(images)[0]
    backend.step(batch("vision"))
    read = backend.read(images)[0]
    assert np.abs(read - before).max() > 0
    saved = {name: value.copy() for name, value in backend.parameters().items()}
    backend.begin(Stage(stage="joint", steps=1, lr=RATE, batch_size=4), [RATE], seed=2)
    for name, value in backend.parameters().items():
        np.testing.assert_array_equal(value, saved[name], err_msg=name)
    np.testing.assert_allclose(backend.read(images)[0], read, atol=1e-6)


@pytest.mark.parametrize("stage", STAGES)
def test_both_frameworks_read_and_spell_alike(stage: str) -> None:
    ours, theirs = (begun(framework, stage) for framework in FRAMEWORKS)
    for one, other in zip(
        ours.read(batch("vision").inputs), theirs.read(batch("vision").inputs), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-4)
    words = batch("language")
    one, other = (backend.spell(words.inputs, words.lengths) for backend in (ours, theirs))
    np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_restored_state_goes_on_with_the_same_losses(framework: str) -> None:
    whole = begun(framework, "joint", average=0.9)
    whole.step(batch("joint", 0))
    state = {name: value.copy() for name, value in whole.state().items()}
    expected = [float(whole.step(batch("joint", seed))) for seed in (1, 2)]
    restored = begun(framework, "joint", average=0.9)
    restored.restore(state)
    assert [float(restored.step(batch("joint", seed))) for seed in (1, 2)] == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_state_of_another_framework_is_refused(framework: str) -> None:
    (other,) = set(FRAMEWORKS) - {framework}
    with pytest.raises(ValueError, match=r"[a-z.]+"):
        begun(framework, "vision").restore(begun(other, "vision").state())


def test_words_cut_to_the_longest_of_a_batch_have_the_same_loss() -> None:
    backend: Any = begun("torch", "language")
    whole = batch("language")
    inputs, labels, lengths = (torch.from_numpy(part) for part in whole[:3])
    expected = float(backend._backward(backend.network, inputs, labels.long(), lengths, bfloat16=False))
    assert backend._on_device(whole)[0].shape[1] == whole.lengths.max() < TINY.steps
    assert float(backend.step(whole)) == pytest.approx(expected, rel=1e-6)


def test_a_cpu_trains_in_whichever_precision_it_is_faster_in() -> None:
    settings = recipe("torch")
    settings = settings.model_copy(
        update={"system": settings.system.model_copy(update={"amp_level": "auto"})}
    )
    backend: Any = open_backend(settings)
    backend.begin(Stage(stage="vision", steps=1, lr=RATE, batch_size=4), [RATE], seed=1)
    weights = {name: value.copy() for name, value in backend.parameters().items()}
    backend._bfloat16_is_faster(*backend._on_device(batch("vision")))
    for name, value in backend.parameters().items():
        np.testing.assert_array_equal(value, weights[name], err_msg=name)
    assert np.isfinite(float(backend.step(batch("vision"))))
    assert backend.bfloat16 in (False, True)


@pytest.mark.parametrize(("used", "other"), [("torch", "mindspore"), ("mindspore", "torch")])
def test_one_framework_is_never_imported_for_the_other(used: str, other: str) -> None:
    program = (
        "import sys\n"
        "import models.training.command, models.training.train\n"
        f"import models.training.backends.{used}_backend\n"
        f"sys.exit(sorted(name for name in sys.modules if name.partition('.')[0] == {other!r})[:1] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_mindspore_refuses_bfloat16() -> None:
    settings = recipe("mindspore")
    halved = settings.system.model_copy(update={"amp_level": "O1"})
    with pytest.raises(ValueError, match=r"amp_level O1 needs system\.framework torch"):
        open_backend(settings.model_copy(update={"system": halved}))
