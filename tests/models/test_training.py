"""Training: its losses, its batches, and that a tiny network learns and goes on after a kill."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import yaml
from mindspore import Tensor, nn

from models.abinet import NETWORKS
from models.charset import encode
from models.checkpoints.checkpoint import load_checkpoint, read_parameters, save_checkpoint
from models.data.rendering.words import SHARED_WORDS, WordSampler
from models.data.sets.lmdb import LmdbWriter
from models.training.backends.mindspore_losses import TextLoss
from models.training.backends.mindspore_step import TrainingStep
from models.training.batches import Batch, CropBatches, batches_ahead
from models.training.command import CONFIGS
from models.training.data import TrainingData
from models.training.misreadings import EXAMPLES, LEVELS, Misreadings, measure
from models.training.plan import StagePace, fonts_line, spelt_out, stages_line
from models.training.ranks import Ranks
from models.training.recipe import Optimizer, Recipe, Stage
from models.training.self_training import ensemble_certainty
from models.training.sources import (
    Changes,
    CropSource,
    Mixed,
    PseudoLabelled,
    RenderedCrops,
    StoredCrops,
)
from models.training.spelling import SpellingBatches, Vocabulary
from models.training.stopping import Stopped, Stopping
from models.training.train import Trainer
from service.bundle_format.preprocessing import Preprocessing
from service.cli import main
from tests.support.distributed import PROGRAM
from tests.support.drawn_fonts import made_up_words
from tests.support.tiny_training import TINY, Broken, Letters

pytestmark = pytest.mark.slow

WORDS = list(made_up_words(SHARED_WORDS + 2000))


Row = dict[str, str]


class Trained(NamedTuple):
    """Where a training left its files, and the rows of its curve."""

    folder: Path
    rows: list[Row]


@pytest.fixture(autouse=True, scope="module")
def _tiny_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", TINY)
        yield


@pytest.fixture(scope="session")
def word_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("".join(f"{word}\t{1 / rank}\n" for rank, word in enumerate(WORDS, start=1)))
    return path


def rendering_recipe(fonts: list[Path], word_list: Path) -> dict[str, Any]:
    """A recipe on rendered crops, as YAML would bring it, still without stages."""
    return {
        "network": "tiny",
        "system": {"seed": 1},
        "common": {"batch_size": 4},
        "train": {
            "log_interval": 1,
            "val_interval": 4,
            "dataset": {"fonts": str(fonts[0].parent), "words": str(word_list)},
            "stages": [],
        },
        "eval": {"dataset": {"limit": 8}},
    }


@pytest.fixture
def recipe(fonts: list[Path], word_list: Path) -> dict[str, Any]:
    return rendering_recipe(fonts, word_list)


def test_a_recipe_whose_photographs_are_missing_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"]["dataset"]["photographs"] = str(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}: no .jpg"):
        train(recipe, tmp_path / "run", {"stage": "vision", "steps": 1, "lr": 0.001})


def train(recipe: dict[str, Any], folder: Path, *stages: dict[str, Any]) -> list[Row]:
    """Runs the stages; returns the rows of the curve."""
    recipe["train"]["stages"] = list(stages)
    Trainer(Recipe.model_validate(recipe), folder, report=lambda line: None).run()
    return rows_of(folder)


def rows_of(folder: Path) -> list[Row]:
    return list(csv.DictReader((folder / "curves.csv").open()))


VISION = {"stage": "vision", "steps": 20, "lr": 0.003, "plain": 0.5}
JOINT = {"stage": "joint", "steps": 2, "lr": 0.001}


@pytest.fixture(scope="module")
def trained(fonts: list[Path], word_list: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training of two stages: every compilation takes seconds, so several tests look at the same one."""
    folder = tmp_path_factory.mktemp("trained")
    return Trained(folder, train(rendering_recipe(fonts, word_list), folder, VISION, JOINT))


@pytest.fixture(scope="module")
def trained_further(
    trained: Trained, fonts: list[Path], word_list: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """The same started again with a third stage, self-training on images of which one does not decode."""
    folder = tmp_path_factory.mktemp("further")
    unlabelled = {"dataset_root": str(pack(folder / "unlabelled", ["whatever", "broken", ""]))}
    stage = {"stage": "self_training", "steps": 3, "refresh": 2, "lr": 0.001, "unlabelled": unlabelled}
    shutil.copytree(trained.folder, folder / "run")
    recipe = rendering_recipe(fonts, word_list)
    return Trained(folder / "run", train(recipe, folder / "run", VISION, JOINT, {**stage, "certainty": 0.0}))


def crops(fonts: list[Path], **options: Any) -> RenderedCrops:
    sampler = WordSampler([(word, 1 / rank) for rank, word in enumerate(WORDS, start=1)], "train")
    return RenderedCrops(fonts, sampler, **{"seed": 4, **options})


def pack(folder: Path, labels: list[str]) -> Path:
    """An LMDB of flat grey crops whose brightness is their number; "broken" is the label of no image."""
    with LmdbWriter(folder) as writer:
        for number, label in enumerate(labels):
            _, png = cv2.imencode(".png", np.full((20, 60, 3), number, np.uint8))
            writer.write(b"no image" if label == "broken" else png.tobytes(), label)
    return folder


def encoded(*labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Their classes (N, T) and lengths (N,)."""
    return encode(labels, TINY.charset, TINY.steps)


def test_the_loss_is_the_mean_cross_entropy_up_to_and_with_the_stop() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 26, 37)).astype(np.float32)
    labels, lengths = encoded("ab", "ab")
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -np.mean([log_probabilities[n, t, (1, 2, 0)[t]] for n in range(2) for t in range(3)])
    loss = TextLoss(26)(Tensor(logits), Tensor(labels), Tensor(lengths)).asnumpy()
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def spelling(fonts: list[Path], **options: Any) -> SpellingBatches:
    words = crops(fonts).words
    vocabulary = Vocabulary(words.words, words.frequencies)
    return SpellingBatches(vocabulary, words, confusing("e", "c"), TINY, 64, seed=3, **options)


def confusing(written: str, read: str) -> Misreadings:
    """Everything is read with certainty, but one character half the time as another."""
    examples = np.zeros((LEVELS, TINY.classes, EXAMPLES, TINY.classes), np.uint8)
    for character in range(TINY.classes):
        examples[:, character, :, character] = 255
    one, other = (TINY.charset.index(character) + 1 for character in (written, read))
    examples[:, one, ::2] = 255 * np.eye(TINY.classes, dtype=np.uint8)[other]
    return Misreadings(examples)


def test_misread_words_are_probabilities_beside_the_right_word(fonts: list[Path]) -> None:
    source = spelling(fonts, clean=0.0)
    inputs, labels, lengths, _ = source.open()(5)
    np.testing.assert_allclose(inputs.sum(-1), 1.0, rtol=1e-5)
    wrong = labels[inputs.argmax(-1) != labels]
    assert set(wrong.tolist()) == {TINY.charset.index("e") + 1}
    assert all(labels[n, lengths[n] - 1 :].sum() == 0 for n in range(64))
    assert all((inputs[n, lengths[n] - 1 :, 0] == 1.0).all() for n in range(64))
    np.testing.assert_array_equal(inputs, source.open()(5).inputs)


def test_the_batches_of_several_processes_are_the_joint_batch(fonts: list[Path]) -> None:
    source = spelling(fonts)
    joint = replace(source, batch_size=192).open()(21)
    shares = [source.open()(number) for number in (63, 64, 65)]
    for whole, parts in zip(joint[:3], zip(*(share[:3] for share in shares), strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_clean_words_are_one_hot(fonts: list[Path]) -> None:
    inputs, labels, _, _ = spelling(fonts, clean=1.0).open()(0)
    np.testing.assert_array_equal(inputs.argmax(-1), labels)
    assert set(np.unique(inputs)) == {0.0, 1.0}


def test_words_of_running_text_come_as_often_as_there(fonts: list[Path]) -> None:
    make = spelling(fonts, running_text=1.0).open()
    drawn = np.concatenate([make(number).labels for number in range(100)])
    first, second = ((drawn == encoded(WORDS[rank])[0]).all(axis=1).sum() for rank in (0, 1))
    assert first == pytest.approx(2 * second, rel=0.25)


def read_as(written: Batch, misread: dict[str, str]) -> np.ndarray:
    """Logits (N, T, classes) of a reader that takes some characters for others."""
    taken = np.arange(TINY.classes)
    for one, other in misread.items():
        taken[TINY.charset.index(one) + 1] = TINY.charset.index(other) + 1
    logits: np.ndarray = 20 * np.eye(TINY.classes, dtype=np.float32)[taken[written.labels]]
    return logits


def test_misreadings_are_those_of_the_reader_that_was_measured(tmp_path: Path) -> None:
    classes, lengths = encoded(*["late", "lute", "o", "cat"] * 8)
    batch = Batch(np.zeros((32, 3, 32, 128), np.float32), classes, lengths)
    rng = np.random.default_rng(0)
    measured, counts = measure(lambda images: read_as(batch, {"u": "v"}), [batch], rng)
    assert counts == {"crops": 32, "of_their_length": 32, "right": 24}
    measured.save(tmp_path / "found.npz")
    words, lengths = encoded(*["cue"] * 16)
    found = Misreadings.from_file(tmp_path / "found.npz").misread(words, rng).argmax(-1)
    assert (found == encoded("cve")[0]).all()


def test_words_read_at_another_length_are_no_misreadings() -> None:
    classes, lengths = encoded(*["ab"] * 16 + ["abc"] * 8)
    batch = Batch(np.zeros((24, 3, 32, 128), np.float32), classes, lengths)
    logits = read_as(batch, {"c": "b"})
    logits[16:, 2] = 20 * np.eye(TINY.classes)[0]
    _, counts = measure(lambda images: logits, [batch], np.random.default_rng(0))
    assert counts == {"crops": 24, "of_their_length": 16, "right": 16}


def test_another_file_is_no_file_of_misreadings(tmp_path: Path) -> None:
    (tmp_path / "words.npz").write_text("no")
    with pytest.raises(ValueError, match=r"words\.npz: not a file of abinet misreadings"):
        Misreadings.from_file(tmp_path / "words.npz")


@pytest.mark.parametrize(
    "options", [{}, {"plain": 1.0}, {"changes": Changes(True, True)}], ids=["scenes", "plain", "changed"]
)
def test_a_batch_is_the_same_whenever_it_is_made(fonts: list[Path], options: dict[str, Any]) -> None:
    source = CropBatches(crops(fonts, **options), TINY, Preprocessing(), 4)
    make = source.open()
    third = [make(number) for number in range(3)][2]
    again = source.open()(2)
    for one, other in zip(third[:3], again[:3], strict=True):
        np.testing.assert_array_equal(one, other)


def test_several_processes_make_the_batches_of_one_in_the_same_order(fonts: list[Path]) -> None:
    source = CropBatches(crops(fonts, plain=1.0), TINY, Preprocessing(), 2)
    make = source.open()
    ahead = batches_ahead(source, first=1, step=3, workers=2)
    for number, batch in zip((1, 4, 7), ahead, strict=False):
        np.testing.assert_array_equal(batch.inputs, make(number).inputs)


def test_plain_crops_have_no_longer_words_than_asked_for(fonts: list[Path]) -> None:
    batch = CropBatches(crops(fonts, plain=1.0, longest=5), TINY, Preprocessing(), 64).open()(0)
    assert batch.lengths.max() <= 6


class Overflowing(nn.Cell):
    """A loss that is infinite for infinite inputs."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, inputs: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        return self.network(inputs).sum()


def test_a_failure_where_batches_are_made_ends_the_training_with_its_reason() -> None:
    ahead = batches_ahead(CropBatches(Broken(), TINY, Preprocessing(), 2), first=0)
    with pytest.raises(ValueError, match=r"^no such disk$"):
        next(ahead)


def test_every_epoch_draws_every_stored_crop_once_in_another_order(tmp_path: Path) -> None:
    source = StoredCrops([pack(tmp_path / "one", list("abcde")), pack(tmp_path / "two", list("fgh"))], seed=1)
    draw = source.open()
    epochs = [[draw(epoch * 8 + index).label for index in range(8)] for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list("abcdefgh")] * 2
    assert epochs[0] != epochs[1]


def test_unusable_stored_samples_are_replaced_and_counted(tmp_path: Path) -> None:
    source = StoredCrops([pack(tmp_path / "set", ["a", "broken", "?!", "x" * 26, "b"])], seed=1)
    drawn = [source.open()(index) for index in range(5)]
    assert {crop.label for crop in drawn} == {"a", "b"}
    assert sum(crop.skipped for crop in drawn) >= 3


def test_a_set_without_a_usable_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of the first 2 samples can be used \(2 x broken image\)"):
        StoredCrops([pack(tmp_path / "set", ["broken", "broken"])], seed=1).check()


def test_a_mix_takes_its_share_of_each_batch_from_the_second_source() -> None:
    first: CropSource = Letters("a")
    draw = Mixed(first, Letters("b"), seconds=1, batch_size=4).open()
    assert [draw(index).label for index in range(8)] == ["a0", "a1", "a2", "b0", "a3", "a4", "a5", "b1"]


def test_pseudo_labelled_crops_are_those_that_were_labelled(tmp_path: Path) -> None:
    sets = [pack(tmp_path / "set", ["", "x" * 40, "c"])]
    draw = PseudoLabelled(sets, {1: "one", 2: "two"}, seed=1).open()
    assert {(int(crop.image[0, 0, 0]), crop.label) for crop in map(draw, range(4))} == {
        (1, "one"),
        (2, "two"),
    }


def test_the_ensemble_is_as_certain_as_its_least_certain_iteration() -> None:
    def logits(*probabilities: float) -> np.ndarray:
        """One text "aa" and its stop, with these probabilities."""
        rest = [[(1 - p) / 36] * 37 for p in probabilities]
        for step, (classes, p) in enumerate(zip(rest, probabilities, strict=True)):
            classes[0 if step == 2 else 1] = p
        return np.log(np.array([rest], np.float32))

    sure, unsure = logits(0.9, 0.8, 0.7), logits(0.9, 0.4, 0.7)
    expected = math.exp((math.log(0.9) + math.log(0.4) + math.log(0.7)) / 3)
    assert ensemble_certainty([sure, unsure])[0] == pytest.approx(expected, rel=1e-5)


def test_learning_rates_warm_up_and_fall_along_a_cosine() -> None:
    rates = Stage(stage="vision", steps=1000, batch_size=1, lr=0.5).learning_rates(1000)
    assert rates[0] < 0.01 < max(rates) <= 0.5
    assert rates[-1] == pytest.approx(0.005)


def test_learning_rates_stay_before_they_fall_where_asked() -> None:
    rates = Stage(stage="vision", steps=1000, batch_size=1, lr=0.5, constant=0.8).learning_rates(1000)
    assert set(rates[200:800]) == {0.5}
    assert rates[900] == pytest.approx(0.5 * 0.505, rel=0.02)
    assert rates[-1] == pytest.approx(0.005)


def test_learning_rates_decay_by_steps_where_asked() -> None:
    stage = Stage(stage="vision", epochs=10, decay_epochs=6, batch_size=1, lr=0.5)
    rates = stage.learning_rates(5000)
    assert rates[2999] == 0.5
    assert rates[3000] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.05)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_understood(path: Path) -> None:
    assert path.stem.startswith(Recipe.from_yaml(path).network)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"network": "abinet_huge"}, "unknown network 'abinet_huge'; known: "),
        ({"system": {}}, "system.seed: Field required"),
        ({"system": {"seed": 1, "speed": 2}}, "system.speed: Extra inputs"),
        ({"train": {"stages": [{"stage": "hearing", "steps": 1, "lr": 1}]}}, "'language', 'vision'"),
        ({"train": {"stages": [{"stage": "joint", "lr": 1}]}}, "needs either steps or epochs"),
        ({"train": {"stages": [{"stage": "self_training", "steps": 1, "lr": 1}]}}, "needs unlabelled"),
        (
            {
                "train": {
                    "stages": [{"stage": "joint", "steps": 1, "lr": 1, "constant": 0.5, "decay_steps": 1}]
                }
            },
            "constant goes with the cosine",
        ),
        (
            {"train": {"stages": [{"stage": "joint", "steps": 1, "lr": 1}], "dataset": {"rendered": 0.5}}},
            "rendered and without need dataset_root",
        ),
    ],
)
def test_a_faulty_recipe_is_refused_in_one_line(change: dict[str, Any], fault: str, tmp_path: Path) -> None:
    stages = [{"stage": "joint", "steps": 1, "lr": 1}]
    good = {
        "network": "tiny",
        "system": {"seed": 1},
        "common": {"batch_size": 1},
        "train": {"stages": stages},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**good, **change}))
    with pytest.raises(ValueError, match=r"recipe\.yaml: ") as error:
        Recipe.from_yaml(path)
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_epochs_of_rendered_crops_are_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dataset_root"):
        train(recipe, tmp_path, {"stage": "vision", "epochs": 1, "lr": 0.1})


in_both_frameworks = pytest.mark.parametrize("framework", ["mindspore", "torch"])


def use(framework: str, recipe: dict[str, Any]) -> None:
    module = pytest.importorskip(framework)
    recipe["system"]["framework"] = framework
    if framework == "torch":
        module.set_num_threads(1)  # several wait for one another on a busy machine, longer than they compute


@in_both_frameworks
def test_the_language_model_learns_to_spell(framework: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    use(framework, recipe)
    recipe["train"]["val_interval"] = 20
    rows = train(recipe, tmp_path, {"stage": "language", "steps": 80, "batch_size": 32, "lr": 0.01})
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    sets = list(csv.DictReader((tmp_path / "validation.csv").open()))
    assert [row["set"] for row in sets] == ["vocabulary", "unknown words"] * 4
    assert all(0 <= float(row["corrected"]) <= 1 and int(row["count"]) > 0 for row in sets)


def test_one_seed_gives_one_curve_to_the_last_digit(
    recipe: dict[str, Any], tmp_path: Path, trained: Trained
) -> None:
    recipe["system"]["val_while_train"] = False  # it draws nothing that the losses depend on
    again = train(recipe, tmp_path, VISION)
    assert len(again) == VISION["steps"]
    assert [row["loss"] for row in again] == [row["loss"] for row in trained.rows[: len(again)]]


def test_a_recipe_trains_the_best_and_the_last_checkpoint_and_draws_its_curves(trained: Trained) -> None:
    vision = [False, False, False, True] * 5
    assert [row["fused"] != "" for row in trained.rows] == [*vision, False, True]
    for name in ("tiny", "best", "last", "stage0_vision", "stage1_joint"):
        _, sidecar = load_checkpoint(trained.folder / f"{name}.ckpt")
        assert sidecar.network == TINY
        assert sidecar.preprocessing == Preprocessing(shrink_by_area=True)
    assert sidecar.training["samples"] == 4 * len(trained.rows)
    picture = cv2.imread(str(trained.folder / "curves.png"))
    assert min(picture.shape[:2]) > 300


def test_finished_stages_are_not_trained_again(trained: Trained, trained_further: Trained) -> None:
    assert trained_further.rows[: len(trained.rows)] == trained.rows
    assert [row["stage"] for row in trained_further.rows[len(trained.rows) :]] == ["2"] * 3
    for name in ("stage0_vision.ckpt", "stage1_joint.ckpt"):
        before, after = ((run.folder / name).stat().st_mtime_ns for run in (trained, trained_further))
        assert before == after


@pytest.mark.parametrize("drop", [False, True])
def test_a_step_whose_gradients_are_not_finite_changes_nothing_where_asked(drop: bool) -> None:
    network = nn.Dense(2, 2)
    step = TrainingStep(Overflowing(network), [0.1], 20.0, Optimizer(), drop_overflow=drop).set_train()
    before = network.weight.asnumpy().copy()
    step(Tensor(np.full((1, 2), np.inf, np.float32)), Tensor([0]), Tensor([0]))
    assert np.array_equal(network.weight.asnumpy(), before) == drop


def test_self_training_learns_from_what_it_is_certain_of(trained_further: Trained) -> None:
    assert [row["name"] for row in trained_further.rows[-3:]] == ["self_training"] * 3
    for line in (trained_further.folder / "pseudo_labels.tsv").read_text().splitlines():
        number, text, sure = line.split("\t")
        assert number in ("0", "2")
        assert text
        assert 0 < float(sure) <= 1


def mixed_recipe(fonts: list[Path], word_list: Path, folder: Path) -> dict[str, Any]:
    """Half rendered, half stored crops, validated on two stored sets, in PyTorch."""
    recipe = rendering_recipe(fonts, word_list)
    use("torch", recipe)
    for part, sets in {"train": ["one"], "val": ["hard", "easy"]}.items():
        for name in sets:
            pack(folder / "data" / part / name, ["abc", "defg", "broken", "hi"])
    stored = {"dataset_root": str(folder / "data"), "data_dir": "train", "rendered": 0.5}
    recipe["train"]["dataset"] |= {
        **stored,
        "augment": "stored",
        "reframe": "all",
        "without": "less to learn",
    }
    recipe["eval"]["dataset"] = {"dataset_root": str(folder / "data"), "data_dir": "val"}
    return recipe


def test_pytorch_trains_all_stages_and_validates_set_by_set(
    fonts: list[Path], word_list: Path, tmp_path: Path
) -> None:
    recipe = mixed_recipe(fonts, word_list, tmp_path)
    recipe["train"] |= {"average": 0.9, "weight_decay": 0.01}
    unlabelled = {"dataset_root": recipe["eval"]["dataset"]["dataset_root"]}
    believing = {"certainty": 0.0, "refresh": 2, "unlabelled": unlabelled}
    stages = [
        {"stage": "vision", "steps": 4, "lr": 0.003},
        JOINT,
        {"stage": "self_training", "steps": 3, "lr": 0.001, **believing},
    ]
    rows = train(recipe, tmp_path / "run", *stages)
    assert [row["name"] for row in rows] == ["vision"] * 4 + ["joint"] * 2 + ["self_training"] * 3
    sets = list(csv.DictReader((tmp_path / "run" / "validation.csv").open()))
    assert [(row["name"], row["set"], row["count"]) for row in sets] == [
        (stage, name, "3") for stage in ("vision", "joint", "self_training") for name in ("easy", "hard")
    ]
    _, sidecar = load_checkpoint(tmp_path / "run" / "tiny.ckpt")
    assert sidecar.training["stage"] == "self_training"
    assert set(sidecar.training) & {"torch", "mindspore"} == {"torch"}


def test_without_the_stored_crops_a_recipe_that_allows_it_trains_on_rendered_ones_and_says_so(
    fonts: list[Path], word_list: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = mixed_recipe(fonts, word_list, tmp_path)
    shutil.rmtree(tmp_path / "data")
    recipe["eval"]["dataset"] |= {"without": "validating on rendered crops", "limit": 4}
    recipe["train"]["stages"] = [{"stage": "vision", "steps": 1, "lr": 0.003}]
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    assert main(["train", "--config", str(config), "--output", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'data'}: no such folder: less to learn\n" in said
    assert (tmp_path / "run" / "validation.csv").read_text().splitlines()[1].split(",")[4:6] == [
        "rendered",
        "4",
    ]


def test_a_stored_folder_that_the_command_names_must_be_there(
    fonts: list[Path], word_list: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = mixed_recipe(fonts, word_list, tmp_path)
    recipe["train"]["stages"] = [{"stage": "vision", "steps": 1, "lr": 0.003}]
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    command = [
        "train",
        "--config",
        str(config),
        "--data",
        str(tmp_path / "none"),
        "--output",
        str(tmp_path / "run"),
    ]
    assert main(command) == 2
    assert "none/train: no such folder" in capsys.readouterr().err


@in_both_frameworks
def test_a_training_starts_from_the_weights_that_its_recipe_names(
    framework: str, trained: Trained, recipe: dict[str, Any], tmp_path: Path
) -> None:
    use(framework, recipe)
    recipe["model"] = {"pretrained": {"vision": str(trained.folder / "tiny.ckpt")}}
    train(recipe, tmp_path, {"stage": "language", "steps": 1, "lr": 0.001})
    given, made = (read_parameters(folder / "tiny.ckpt") for folder in (trained.folder, tmp_path))
    same = {name for name, value in made.items() if np.array_equal(value, given[name])}
    assert {name for name in made if name.startswith("vision.")} <= same
    assert "language.cls.weight" not in same


def test_a_state_of_another_framework_is_refused_in_one_line(recipe: dict[str, Any], tmp_path: Path) -> None:
    stage = {"stage": "language", "steps": 8, "lr": 0.001}
    use("torch", recipe)
    train(recipe, tmp_path, stage)
    (tmp_path / "stage0_language.ckpt").unlink()
    use("mindspore", recipe)
    with pytest.raises(ValueError, match="the state of another recipe or framework"):
        train(recipe, tmp_path, stage)


def losses_of(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row["step"], row["loss"]) for row in rows]


@in_both_frameworks
def test_a_training_killed_within_a_stage_goes_on_with_the_same_curve(
    framework: str, recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(framework, recipe)
    recipe["train"]["average"] = 0.9
    stage = {"stage": "language", "steps": 20, "lr": 0.001}
    whole = train(recipe, tmp_path / "whole", stage)
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    script = tmp_path / "script.py"
    script.write_text("""
import os, signal, sys
from pathlib import Path
from tests.support.tiny_training import TINY
from models.abinet import NETWORKS

def end_within_the_stage(line):
    if "step 11 " in line:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    from models.training.recipe import Recipe
    from models.training.train import Trainer
    NETWORKS["tiny"] = TINY
    Trainer(Recipe.from_yaml(Path(sys.argv[1])), Path(sys.argv[2]), report=end_within_the_stage).run()
""")
    killed = tmp_path / "killed"
    done = subprocess.run([sys.executable, script, config, killed], env=with_tests_to_import(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert losses_of(rows_of(killed)) == losses_of(whole)[:10]
    assert main(["train", "--config", str(config), "--output", str(killed)]) == 0
    assert "goes on from step 8 of 20" in capsys.readouterr().out
    assert losses_of(rows_of(killed)) == losses_of(whole)
    validations = [(tmp_path / run / "validation.csv").read_text() for run in ("whole", "killed")]
    assert validations[0] == validations[1]


def test_a_training_that_is_stopped_saves_where_it_is_and_goes_on_with_the_same_curve(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    use("torch", recipe)
    recipe["train"]["average"] = 0.9
    stage = {"stage": "language", "steps": 8, "lr": 0.001}
    whole = train(recipe, tmp_path / "whole", stage)
    stopping, said = Stopping(), list[str]()

    def stop_at_step_5(line: str) -> None:
        said.append(line)
        stopping.wanted = "step 5 " in line

    config = Recipe.model_validate(recipe)
    with pytest.raises(Stopped, match="stopped at step 5 of 8 of stage 0 language; the same command goes on"):
        Trainer(config, tmp_path / "stopped", report=stop_at_step_5, stopping=stopping).run()
    stopping.wanted = False
    Trainer(config, tmp_path / "stopped", report=said.append, stopping=stopping).run()
    assert any("goes on from step 5 of 8" in line for line in said)
    assert losses_of(rows_of(tmp_path / "stopped")) == losses_of(whole)


def test_ctrl_c_saves_and_says_how_to_go_on(recipe: dict[str, Any], tmp_path: Path) -> None:
    use("torch", recipe)
    recipe["train"]["val_interval"] = 10**6
    recipe["train"]["stages"] = [{"stage": "language", "steps": 10**6, "lr": 0.001}]
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    command: list[str | Path] = [
        sys.executable,
        PROGRAM,
        "train",
        "--config",
        config,
        "--output",
        tmp_path / "run",
    ]
    step = 0
    for _ in range(2):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=with_tests_to_import(), start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stdout
            said = list[str]()
            while not said or "  loss " not in said[-1]:
                said.append(process.stdout.readline())
                assert said[-1], process.stderr and process.stderr.read()
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the processes for batches too
            out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err.strip() == (
            "stopping after the step or validation in progress; once more ends at once, without saving"
        )
        assert any(line.startswith("plan: 0 language 1000000 steps") for line in said)
        assert f"goes on from step {step} of 1000000" in "".join(said) or not step
        last = out.splitlines()[-1]
        stopped = re.fullmatch(r"stopped at step (\d+) of .*; the same command goes on from there", last)
        assert stopped, last
        assert int(stopped[1]) > step
        step = int(stopped[1])


def test_a_training_says_its_plan_and_once_its_pace() -> None:
    pace = StagePace()
    said = [pace.after(step, 1000) for step in range(1, 301)]
    (line,) = [line for line in said if line]
    assert said.index(line) == 100
    assert re.fullmatch(r"\S+ steps a second: the 899 that are left take about \d+ s", line)
    vision = Stage(stage="vision", steps=5, batch_size=1, lr=1)
    joint = Stage(stage="joint", steps=7, batch_size=1, lr=1)
    line = stages_line([vision, joint], [5, 7])
    assert line == "plan: 0 vision 5 steps, 1 joint 7 steps; together 12 steps"
    assert [spelt_out(seconds) for seconds in (40, 720, 27000)] == ["40 s", "12 min", "7.5 h"]
    assert fonts_line(900, 1600) == "fonts: 900 found, the recipe was made with 1600"
    assert "docs/data.md names packages" in fonts_line(20, 1600)


class Disagreeing(Ranks):
    """Two processes, of which the other one says something else."""

    def __init__(self, recipe: str = "", steps: list[int] | None = None) -> None:
        super().__init__()
        self.recipe, self.steps = recipe, steps

    def of_all(self, value: Any) -> list[Any]:
        recipe, steps = value
        return [value, [self.recipe or recipe, self.steps or steps]]


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (Disagreeing(recipe="{}"), "process 1 of 1 was started with another recipe than process 0"),
        (
            Disagreeing(steps=[9]),
            r"process 1 of 1 finds other data than process 0: its .* \[9\] steps",
        ),
    ],
    ids=["recipe", "data"],
)
def test_processes_that_would_not_train_the_same_are_refused(
    other: Ranks, fault: str, recipe: dict[str, Any], tmp_path: Path
) -> None:
    use("torch", recipe)
    recipe["train"]["stages"] = [{"stage": "language", "steps": 1, "lr": 0.001}]
    with pytest.raises(ValueError, match=fault):
        Trainer(Recipe.model_validate(recipe), tmp_path / "run", ranks=other).run()
    assert not (tmp_path / "run").exists()


def test_a_validation_set_that_cannot_be_read_is_found_before_the_first_step(
    fonts: list[Path], word_list: Path, tmp_path: Path
) -> None:
    recipe = with_a_stage(mixed_recipe(fonts, word_list, tmp_path))
    pack(tmp_path / "data" / "val" / "unreadable", ["broken"] * 4)
    parsed = Recipe.model_validate(recipe)
    with pytest.raises(ValueError, match="of the first 4 samples can be used"):
        TrainingData(parsed, Preprocessing()).check(parsed.train.stages)


def with_tests_to_import() -> dict[str, str]:
    """The environment of a script that imports what the tests do."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def test_a_process_that_prepares_batches_ends_when_its_training_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import multiprocessing, os, signal
from tests.support.tiny_training import TINY, Letters
from service.bundle_format.preprocessing import Preprocessing
from models.training import batches
from models.training.batches import CropBatches, batches_ahead

batches.POLL_SECONDS = 0.1
if __name__ == "__main__":
    ahead = batches_ahead(CropBatches(Letters("a"), TINY, Preprocessing(), 2), first=0)
    next(ahead)
    print(multiprocessing.active_children()[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
""")
    done = subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, env=with_tests_to_import(), check=False
    )
    deadline = time.monotonic() + 60
    while Path(f"/proc/{int(done.stdout)}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_distributed_training_without_msrun_says_how_to_start_it(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["system"]["distribute"] = True
    recipe["train"]["stages"] = [{"stage": "language", "steps": 1, "lr": 0.001}]
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    assert main(["train", "--config", str(config), "--output", str(tmp_path / "run")]) != 0
    said = capsys.readouterr().err
    assert "msrun --worker_num" in said
    assert "Traceback" not in said


def test_a_recipe_that_does_not_exist_is_an_error_and_not_the_projects_of_that_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", str(tmp_path / "abinet_resnet45_en.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "No such recipe; by name alone there are abinet_resnet45_en.yaml, " in line


@pytest.mark.parametrize(
    ("later", "fault"),
    [
        ({"stage": "vision", "steps": 1, "lr": 1, "pretrained": "none.ckpt"}, "none.ckpt: no such file"),
        (
            {"stage": "self_training", "steps": 1, "lr": 1, "unlabelled": {"dataset_root": "/none"}},
            "/none: no such folder",
        ),
        ({"stage": "language", "steps": 1, "lr": 1, "text": "none.tsv"}, "abinet data text makes it"),
    ],
    ids=["weights", "sets", "text"],
)
def test_what_a_later_stage_lacks_is_found_before_the_first_step(
    later: dict[str, Any], fault: str, recipe: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises((ValueError, OSError), match=fault):
        train(recipe, tmp_path / "run", {"stage": "language", "steps": 1, "lr": 0.001}, later)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_recipe_is_refused_before_anything_is_written(
    trained: Trained, recipe: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    recipe["system"]["seed"] = 2
    with pytest.raises(
        ValueError, match=r"another recipe \(system.seed 1, now 2; stage 0: lr 0.003, now 0.1\)"
    ):
        train(recipe, folder, {**VISION, "lr": 0.1})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_imported_checkpoint_may_stand_for_a_finished_stage(
    trained: Trained, recipe: dict[str, Any], tmp_path: Path
) -> None:
    network, sidecar = load_checkpoint(trained.folder / "tiny.ckpt")
    shortest = replace(sidecar.network, no_stop_length="shortest")
    imported = replace(sidecar, network=shortest, training={"origin": "MindOCR"})
    save_checkpoint(network, tmp_path / "stage0_vision.ckpt", imported)
    rows = train(recipe, tmp_path, VISION, {"stage": "language", "steps": 1, "lr": 0.001})
    assert [row["stage"] for row in rows] == ["1"]


def test_the_next_stage_starts_from_the_best_weights(trained: Trained) -> None:
    sidecar = json.loads((trained.folder / "stage0_vision.json").read_text())
    rows = [row for row in trained.rows if row["name"] == "vision" and row["vision"]]
    best = max(rows, key=lambda row: (float(row["vision"]), -int(row["step"])))
    assert sidecar["training"]["samples"] == int(best["samples"])


def test_validation_takes_the_sets_that_the_recipe_names(
    fonts: list[Path], word_list: Path, tmp_path: Path
) -> None:
    recipe = mixed_recipe(fonts, word_list, tmp_path)
    recipe["eval"]["val_sets"] = "hard"
    data = TrainingData(Recipe.model_validate(with_a_stage(recipe)), Preprocessing())
    assert [batch.name for batch in data.validation()] == ["hard"]
    shares = [[len(batch.images) for batch in data.validation(slice(rank, None, 2))] for rank in (0, 1)]
    assert shares == [[1], [2]]  # of four crops, one of which cannot be used
    recipe["eval"]["val_sets"] = ["hard", "harder"]
    with pytest.raises(ValueError, match=r"eval\.val_sets: no set harder; there are easy, hard"):
        TrainingData(Recipe.model_validate(with_a_stage(recipe)), Preprocessing()).validation_sets()


def with_a_stage(recipe: dict[str, Any]) -> dict[str, Any]:
    return {**recipe, "train": {**recipe["train"], "stages": [{"stage": "vision", "steps": 1, "lr": 1}]}}


@pytest.mark.parametrize(("warm_up", "first"), [(0, 1.0), (10, 0.1)])
def test_learning_rates_warm_up_as_long_as_asked(warm_up: int, first: float) -> None:
    stage = Stage(stage="vision", steps=1000, batch_size=1, lr=1.0, warm_up=warm_up, constant=1.0)
    assert stage.learning_rates(1000)[0] == pytest.approx(first)
