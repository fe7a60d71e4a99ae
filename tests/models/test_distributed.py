"""Data-parallel training: as many processes as there are train one network, killed or not."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from models.abinet import NETWORKS
from models.data.rendering.words import SHARED_WORDS
from models.training.recipe import Recipe, Stage
from models.training.train import Trainer
from tests.support import distributed
from tests.support.drawn_fonts import made_up_words
from tests.support.tiny_training import TINY

pytestmark = pytest.mark.slow

STEPS, SAVED, KILLED = 12, 4, 8


class Killed(NamedTuple):
    """A training of two processes whose first one was killed between its saves at step 8."""

    folder: Path
    config: Path
    logs: Path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    words = tmp_path_factory.mktemp("words") / "words.txt"
    listed = enumerate(made_up_words(SHARED_WORDS + 2000), start=1)
    words.write_text("".join(f"{word}\t{1 / rank}\n" for rank, word in listed))
    return {
        "network": "tiny",
        "system": {"seed": 1},
        "common": {"global_batch_size": 12},
        "train": {
            "log_interval": 1,
            "val_interval": 4,
            "dataset": {"words": str(words)},
            "stages": [{"stage": "language", "steps": STEPS, "lr": 0.001}],
        },
    }


def write(recipe: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump({**recipe, "system": {**recipe["system"], "distribute": True}}))
    return path


def train_alone(recipe: dict[str, Any], folder: Path) -> list[float]:
    """The losses after one process has trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", TINY)
        Trainer(Recipe.model_validate(recipe), folder, report=lambda line: None).run()
    return losses(folder)


def losses(folder: Path) -> list[float]:
    """By step, each of which has to be there once."""
    rows = list(csv.DictReader((folder / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    return [float(row["loss"]) for row in rows]


@pytest.fixture(scope="module")
def expected(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Of one process that nobody kills."""
    return train_alone(recipe, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def killed(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    config = write(recipe, folder / "recipe.yaml")
    arguments = ("train", f"--config={config}", f"--output={folder / 'run'}")
    with distributed.msrun(2, folder / "logs", *arguments, KILLED_AT="2") as msrun:
        distributed.wait_for(folder / "logs", 0, "step 1 ")
        os.kill(msrun.pid, signal.SIGSTOP)  # it would end the other one itself
        distributed.wait_for(folder / "logs", 1, "has ended")
    return Killed(folder / "run", config, folder / "logs")


def test_two_processes_train_as_one_with_the_joint_batch(killed: Killed, expected: list[float]) -> None:
    np.testing.assert_allclose(losses(killed.folder), expected[:KILLED], rtol=1e-4)


def test_what_two_processes_left_one_finishes_with_the_same_curve(
    killed: Killed, recipe: dict[str, Any], expected: list[float], tmp_path: Path
) -> None:
    shutil.copytree(killed.folder, tmp_path / "run")
    np.testing.assert_allclose(train_alone(recipe, tmp_path / "run"), expected, rtol=1e-4)


def test_what_two_processes_left_three_finish_with_the_same_curve(
    killed: Killed, expected: list[float], tmp_path: Path
) -> None:
    folder = shutil.copytree(killed.folder, tmp_path / "run")
    arguments = ("train", f"--config={killed.config}", f"--output={folder}")
    assert distributed.run(3, tmp_path / "logs", *arguments) == 0
    assert f"goes on from step {SAVED} of {STEPS}" in distributed.said(tmp_path / "logs", 0)
    np.testing.assert_allclose(losses(folder), expected, rtol=1e-4)
    assert not list(folder.glob("resume_*"))


def test_a_state_of_another_global_batch_is_refused_with_what_to_write(
    killed: Killed, recipe: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(killed.folder, tmp_path / "run")
    with pytest.raises(ValueError, match="global_batch_size: 12 instead of batch_size") as error:
        train_alone({**recipe, "common": {"batch_size": 6}}, folder)
    assert "\n" not in str(error.value)


def test_when_one_process_ends_the_others_do_within_a_bound(killed: Killed) -> None:
    said = distributed.said(killed.logs, 1)
    assert "process 0 of 2 has ended, and this one with it; start the training again" in said


def test_a_global_batch_is_shared_out_or_the_rate_scaled() -> None:
    shared = Stage(stage="vision", steps=1, lr=0.1, global_batch_size=384).on(8)
    assert (shared.crops, shared.lr) == (48, 0.1)
    scaled = Stage(stage="vision", steps=1, lr=0.1, batch_size=96, global_batch_size=768).on(4)
    assert scaled.crops == 96
    assert scaled.lr == pytest.approx(0.05)
    with pytest.raises(ValueError, match="384 cannot be shared among 5 processes"):
        Stage(stage="vision", steps=1, lr=0.1, global_batch_size=384).on(5)
