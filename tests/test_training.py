"""Training: its losses, its batches, and that a tiny network learns and goes on after a stop."""

import csv
import dataclasses
import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from drawn_fonts import made_up_words
from mindspore import Tensor

from models.abinet import NETWORKS, ABINet, NetworkConfig
from models.checkpoints import load_checkpoint
from models.data.words import SHARED_WORDS, Split, WordSampler
from models.preprocessing import Preprocessing
from models.training.command import CONFIGS
from models.training.crops import CropSource, make_batches
from models.training.evaluate import evaluate, is_right
from models.training.losses import TextLoss
from models.training.spelling import encode, misspell, spelling_batches
from models.training.train import Recipe, Stage, Trainer

TINY = NetworkConfig(
    d_model=16, heads=2, d_inner=32, vision_layers=1, language_layers=1, resnet_channels=(4, 4, 8, 8, 16),
    resnet_blocks=(1, 1, 1, 1, 1), attention_channels=4, dropout=0.0,
)  # fmt: skip
RECIPE = {
    "network": "abinet_tiny_en",
    "system": {"seed": 1},
    "train": {"clip_norm": 20.0, "log_interval": 2, "val_interval": 4, "stages": []},
}


def words(split: Split = "train") -> WordSampler:
    vocabulary = [(word, 1 / rank) for rank, word in enumerate(made_up_words(SHARED_WORDS + 2000), start=1)]
    return WordSampler(vocabulary, split)


def test_the_loss_is_the_mean_cross_entropy_up_to_and_with_the_stop() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 26, 37)).astype(np.float32)
    classes, length = encode("ab", TINY)
    labels, lengths = np.stack([classes, classes]), np.array([length, length], np.int32)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -np.mean([log_probabilities[n, t, (1, 2, 0)[t]] for n in range(2) for t in range(3)])
    loss = TextLoss(26)(Tensor(logits), Tensor(labels), Tensor(lengths)).asnumpy()
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_a_text_is_encoded_with_a_null_after_its_last_character() -> None:
    classes, length = encode("az10", TINY)
    assert classes[:5].tolist() == [1, 26, 27, 36, 0]
    assert length == 5


def test_a_misspelt_text_keeps_its_length() -> None:
    rng = np.random.default_rng(0)
    assert all(len(misspell("restaurant24", TINY, rng)) == 12 for _ in range(100))


def test_spelling_batches_are_probabilities_of_a_misspelt_text() -> None:
    probabilities, labels, lengths = next(spelling_batches(words(), TINY, 64, seed=3))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)
    within = np.arange(TINY.steps) < lengths[:, None]
    wrong = (probabilities.argmax(-1) != labels)[within].mean()
    assert 0.02 < wrong < 0.3


@pytest.mark.parametrize("plain", [0.0, 1.0])
def test_a_batch_of_crops_is_the_same_whenever_it_is_made(fonts: list[Path], plain: float) -> None:
    source = CropSource(fonts, words(), seed=4, plain=plain)
    third = list(islice(make_batches(source, TINY, Preprocessing(), 4, 0), 3))[2]
    again = next(make_batches(source, TINY, Preprocessing(), 4, 2))
    for one, other in zip(third, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_plain_crops_have_no_longer_words_than_asked_for(fonts: list[Path]) -> None:
    source = CropSource(fonts, words(), seed=5, plain=1.0, longest=5)
    _, _, lengths = next(make_batches(source, TINY, Preprocessing(), 64, 0))
    assert lengths.max() <= 6


def test_learning_rates_warm_up_and_end_near_zero() -> None:
    rates = Stage("vision", steps=1000, batch_size=1, lr=0.5).learning_rates()
    assert rates[0] < 0.01 < max(rates) <= 0.5
    assert rates[-1] == pytest.approx(0.005)


def test_a_recipe_with_an_unknown_stage_is_refused() -> None:
    recipe = json.loads(json.dumps(RECIPE))
    recipe["train"]["stages"] = [{"stage": "hearing", "steps": 1, "batch_size": 1, "lr": 0.1}]
    with pytest.raises(ValueError, match="unknown stage 'hearing'"):
        Recipe.from_dict(recipe)


def test_a_recipe_without_a_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        Recipe.from_dict({**RECIPE, "system": {}})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_understood(path: Path) -> None:
    recipe = Recipe.from_dict(yaml.safe_load(path.read_text()))
    assert recipe.network == NETWORKS[recipe.name]


def test_a_recipe_trains_a_checkpoint_and_goes_on_where_it_was_stopped(
    fonts: list[Path], tmp_path: Path
) -> None:
    stages = (Stage("language", 40, 32, 0.01), Stage("vision", 4, 2, 0.001, 1.0), Stage("joint", 2, 2, 0.001))
    recipe = Recipe("tiny", TINY, 1, 20.0, 2, 4, stages)
    lines: list[str] = []
    first = Trainer(dataclasses.replace(recipe, stages=stages[:2]), fonts, words, tmp_path)
    images, labels, lengths = first.test
    first.test = images[:4], labels[:4], lengths[:4]  # the test set's size is not what is tested
    first.run(lines.append)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    language = [float(row["loss"]) for row in rows if row["stage"] == "language"]
    assert language[-1] < 0.8 * language[0]

    second = Trainer(recipe, fonts, words, tmp_path)
    second.test = first.test
    lines.clear()
    path = second.run(lines.append)
    assert lines[:2] == ["stage0_language.ckpt: already trained", "stage1_vision.ckpt: already trained"]
    _, sidecar = load_checkpoint(path)
    assert sidecar.training["stage"] == "joint"
    assert sidecar.network == TINY


def write_labelled(folder: Path, rows: dict[str, str]) -> Path:
    """A folder with a grey crop and a label for every row; names that end in .txt are no images."""
    folder.mkdir()
    for name in rows:
        if name.endswith(".png"):
            cv2.imwrite(str(folder / name), np.full((20, 60, 3), 128, np.uint8))
        else:
            (folder / name).write_text("not an image")
    (folder / "labels.tsv").write_text("".join(f"{name}\t{label}\n" for name, label in rows.items()))
    return folder


def test_a_reading_is_right_only_where_every_character_and_the_stop_are() -> None:
    labels = np.stack([encode(text, TINY)[0] for text in ("cat", "cat", "cat")])
    read = np.stack([encode(text, TINY)[0] for text in ("cat", "cats", "car")])
    read[0, 7] = 5  # what follows the stop does not count
    assert is_right(np.eye(TINY.classes)[read], labels).tolist() == [True, False, False]


def test_evaluation_skips_and_counts_what_has_no_usable_label_or_image(tmp_path: Path) -> None:
    folder = write_labelled(
        tmp_path / "set", {"a.png": "Cat!", "b.png": "!?", "c.txt": "dog", "d.png": "x" * 26}
    )
    accuracy = evaluate(ABINet(TINY).set_train(False), TINY, Preprocessing(), folder)
    assert (accuracy.crops, accuracy.skipped) == (1, 3)
    assert len(accuracy.fused) == TINY.iterations


def test_evaluation_refuses_labels_without_a_tab(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "set", {"a.png": "cat"})
    (folder / "labels.tsv").write_text("a.png cat\n")
    with pytest.raises(ValueError, match=r"labels\.tsv: each line needs"):
        evaluate(ABINet(TINY), TINY, Preprocessing(), folder)
