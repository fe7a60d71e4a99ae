"""Both frameworks: one recipe, one step, the same losses and gradients; neither needs the other."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
import pytest

from tests.support.tiny_training import TINY

torch = pytest.importorskip("torch")

from models.abinet import NETWORKS  # noqa: E402
from models.checkpoints.importers import from_official  # noqa: E402
from models.training.backends import Backend, averaging_share, open_backend  # noqa: E402
from models.training.backends.mindspore_step import TrainingStep  # noqa: E402
from models.training.backends.torch_backend import _optimizer as torch_optimizer  # noqa: E402
from models.training.batches import Batch  # noqa: E402
from models.training.recipe import Optimizer, Recipe, Stage  # noqa: E402

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("mindspore", "torch")
STAGES = ("language", "vision", "joint")
RATE = 0.01


@pytest.fixture(autouse=True, scope="module")
def _tiny_network() -> Any:
    torch.set_num_threads(1)  # several wait for one another on a busy machine, longer than they compute
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", TINY)
        yield


def recipe(framework: str, amp_level: str = "O0", **train: Any) -> Recipe:
    stages = [{"stage": "joint", "steps": 1, "lr": RATE}]
    return Recipe.model_validate(
        {
            "network": "tiny",
            "system": {"seed": 1, "framework": framework, "amp_level": amp_level},
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


def begun(framework: str, stage: Any, steps: int = 3, **train: Any) -> Backend:
    """A backend with weights that both frameworks have alike, at the beginning of a stage."""
    backend = open_backend(recipe(framework, **train))
    rng = np.random.default_rng(3)
    weights = {name: value.copy() for name, value in sorted(backend.parameters().items())}
    for name, value in weights.items():
        if not name.endswith(("pe", "moving_variance", "gamma")):
            value[:] = rng.normal(0.0, 0.2, value.shape)
    backend.load(weights, "the test's weights")
    backend.begin(Stage(stage=stage, steps=steps, lr=RATE, batch_size=4), [RATE] * steps, seed=1)
    return backend


class Stepped(NamedTuple):
    """The losses of three steps, and the gradients of the first by native name."""

    losses: list[float]
    gradients: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=STAGES)
def stepped(request: pytest.FixtureRequest) -> list[Stepped]:
    """Of both frameworks, from the same weights and batches."""
    found = []
    for framework in FRAMEWORKS:
        backend: Any = begun(framework, request.param, weight_decay=0.1, clip_norm=1e6)
        losses = [float(backend.step(batch(request.param)))]
        gradients = {name: value / 0.1 for name, value in first_moments(backend).items()}
        losses += [float(backend.step(batch(request.param, seed))) for seed in (1, 2)]
        found.append(Stepped(losses, gradients))
    return found


def first_moments(backend: Any) -> dict[str, np.ndarray]:
    """Adam's, by native name: a tenth of the gradients after the first step."""
    if not hasattr(backend, "optimizer"):
        prefix = "moment1."
        state = backend.state().items()
        return {name.removeprefix(prefix): value for name, value in state if name.startswith(prefix)}
    moments = backend.optimizer.state
    named = backend.network.named_parameters()
    return from_official({name: moments[p]["exp_avg"].numpy().copy() for name, p in named if p in moments})


def test_a_step_of_both_frameworks_has_the_same_gradients(stepped: list[Stepped]) -> None:
    """Within 1e-4 of the largest of all."""
    ours, theirs = (one.gradients for one in stepped)
    assert sorted(ours) == sorted(theirs)
    largest = max(np.abs(value).max() for value in ours.values())
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, atol=1e-4 * largest, rtol=0, err_msg=name)


def test_the_losses_of_both_frameworks_stay_together(stepped: list[Stepped]) -> None:
    """Within 1e-4 at the first step, and within 1 % after two, weight decay included."""
    ours, theirs = (one.losses for one in stepped)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4)
    np.testing.assert_allclose(ours, theirs, rtol=0.01)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_weight_decay_shrinks_matrices_and_leaves_vectors(framework: str) -> None:
    plain, shrunk = (begun(framework, "language", weight_decay=decay) for decay in (0.0, 10.0))
    before = plain.parameters()["language.cls.weight"].copy()
    for backend in (plain, shrunk):
        backend.step(batch("language"))
    stepped, decayed = plain.parameters(), shrunk.parameters()
    np.testing.assert_allclose(
        decayed["language.cls.weight"], stepped["language.cls.weight"] - 10.0 * RATE * before, atol=1e-6
    )
    np.testing.assert_array_equal(decayed["language.cls.bias"], stepped["language.cls.bias"])


class Quadratic(ms.nn.Cell):
    """Half the square of the distance of a matrix and a bias from what a batch holds."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.weight = ms.Parameter(weight.copy(), name="weight")
        self.bias = ms.Parameter(bias.copy(), name="bias")

    def construct(self, weight: ms.Tensor, bias: ms.Tensor, _: ms.Tensor) -> ms.Tensor:
        return 0.5 * (((self.weight - weight) ** 2).sum() + ((self.bias - bias) ** 2).sum())


@pytest.mark.parametrize(
    "keys",
    [
        {"opt": "adam", "beta1": 0.8, "beta2": 0.99},
        {"opt": "sgd", "momentum": 0.8},
        {"opt": "sgd", "nesterov": True, "filter_bias_and_bn": False},
        {"opt": "adamw", "filter_bias_and_bn": False},
    ],
    ids=lambda keys: "-".join(map(str, keys.values())),
)
def test_the_optimizers_of_both_frameworks_step_alike(keys: dict[str, Any]) -> None:
    """Unclipped, with weights that decay, at rates that change and may be 0."""
    rng = np.random.default_rng(1)
    shapes, rates, decay = ((3, 2), (2,)), [0.0, 0.1, 0.2, 0.1], 0.5
    start = [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]
    targets = [[rng.normal(0, 1, shape).astype(np.float32) for shape in shapes] for _ in rates]
    wanted = Optimizer.model_validate(keys)
    cell = Quadratic(*start)
    step = TrainingStep(cell, rates, math.inf, wanted, weight_decay=decay).set_train()
    theirs = [torch.nn.Parameter(torch.from_numpy(value.copy())) for value in start]
    optimizer = torch_optimizer(wanted, theirs, rates[0], decay)
    for rate, target in zip(rates, targets, strict=True):
        step(*map(ms.Tensor, target), ms.Tensor(0.0))
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, value in zip(theirs, target, strict=True):
            parameter.grad = parameter.detach() - torch.from_numpy(value)
        optimizer.step()
    for ours, other in zip((cell.weight, cell.bias), theirs, strict=True):
        np.testing.assert_allclose(ours.asnumpy(), other.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_average_follows_the_weights(framework: str) -> None:
    averaging, plain = begun(framework, "language", average=0.9), begun(framework, "language")
    expected = {name: value.copy() for name, value in plain.parameters().items()}
    for step in range(3):
        for backend in (averaging, plain):
            backend.step(batch("language", step))
        for name, value in plain.parameters().items():
            expected[name] = expected[name] + averaging_share(step, 0.9) * (value - expected[name])
    for name, value in averaging.parameters().items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_average_reads_and_the_next_stage_starts_from_it(framework: str) -> None:
    backend = begun(framework, "language", average=0.9)
    words = batch("language")
    before = backend.spell(words.inputs, words.lengths)
    backend.step(words)
    spelt = backend.spell(words.inputs, words.lengths)
    assert np.abs(spelt - before).max() > 0
    saved = {name: value.copy() for name, value in backend.parameters().items()}
    backend.begin(Stage(stage="joint", steps=1, lr=RATE, batch_size=4), [RATE], seed=2)
    for name, value in backend.parameters().items():
        np.testing.assert_array_equal(value, saved[name], err_msg=name)
    np.testing.assert_allclose(backend.spell(words.inputs, words.lengths), spelt, atol=1e-6)


def test_both_frameworks_read_and_spell_alike() -> None:
    ours, theirs = (begun(framework, "vision") for framework in FRAMEWORKS)
    images, words = batch("vision").inputs, batch("language")
    for one, other in zip(ours.read(images), theirs.read(images), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    one, other = (backend.spell(words.inputs, words.lengths) for backend in (ours, theirs))
    np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_restored_state_goes_on_with_the_same_losses(framework: str) -> None:
    whole = begun(framework, "language", average=0.9)
    whole.step(batch("language", 0))
    state = {name: value.copy() for name, value in whole.state().items()}
    expected = [float(whole.step(batch("language", seed))) for seed in (1, 2)]
    restored = begun(framework, "language", average=0.9)
    restored.restore(state)
    assert [float(restored.step(batch("language", seed))) for seed in (1, 2)] == expected


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


def test_half_precision_has_the_losses_of_float32_within_a_hundredth() -> None:
    losses = []
    for level in ("O0", "O2"):
        backend = begun("mindspore", "language", amp_level=level)
        losses.append([float(backend.step(batch("language", seed))) for seed in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.01)
    assert losses[0] != losses[1]


def test_half_precision_is_refused_if_the_first_loss_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.training.backends import mindspore_precision

    monkeypatch.setattr(mindspore_precision, "TOLERANCE", 0.0)
    backend = begun("mindspore", "language", amp_level="O2")
    with pytest.raises(ValueError, match=r"amp_level O2: the first loss is .* and in float32 .*; write O0"):
        backend.step(batch("language"))
