"""The folder of a training: its files, and the check that it is this recipe's. Only the first process uses
it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from models.checkpoints.checkpoint import sidecar_path
from models.training.recipe import Recipe, Stage

#: Keys that change a stage's training; the others only say where things are, or how often to log and
#: validate.
_OF_A_STAGE = {
    "stage", "lr", "steps", "epochs", "warm_up", "warm_up_epochs", "constant", "decay_rate", "decay_epochs",
    "decay_steps", "scheduler", "plain", "longest", "running_text", "clean", "certainty", "refresh", "share",
}  # fmt: skip


class Folder:
    """Files of one training, see :class:`~models.training.train.Trainer`."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self.state = path / "resume.npz"
        self.last = path / "last.ckpt"
        self.best = path / "best.ckpt"
        self.final = path / f"{recipe.network}.ckpt"
        self.pseudo_labels = path / "pseudo_labels.tsv"
        self._recipe = path / "recipe.yaml"

    def finished(self, number: int) -> Path:
        """The checkpoint that stage ``number`` leaves."""
        return self.path / f"stage{number}_{self.recipe.train.stages[number].stage}.ckpt"

    def open(self) -> None:
        """Makes the folder, and writes down its recipe.

        Raises:
            ValueError: it is the folder of another recipe's training; nothing is written then.
        """
        wanted = self.recipe.model_dump(mode="json", exclude_none=True)
        try:
            before = yaml.safe_load(self._recipe.read_text(encoding="utf-8"))
        except FileNotFoundError:
            before = None
        differing = list(_differing(before, wanted)) if isinstance(before, dict) else []
        if differing:
            raise ValueError(
                f"{self.path}: holds the training of another recipe ({'; '.join(differing)}); choose another"
                " folder with --output"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self._recipe.with_suffix(".partial")
        partial.write_text(yaml.safe_dump(wanted, sort_keys=False), encoding="utf-8")
        partial.replace(self._recipe)

    def keep(self, number: int) -> None:
        """Stage ``number`` is done: its best checkpoint, or without validation its last, is the result."""
        kept = self.best if self.best.exists() else self.last
        copy(kept, self.final)
        copy(kept, self.finished(number))


def _differing(before: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    if before.get("network") != wanted["network"]:
        yield f"network {before.get('network')}, now {wanted['network']}"
    if before.get("system", {}).get("seed") != wanted["system"]["seed"]:
        yield f"system.seed {before.get('system', {}).get('seed')}, now {wanted['system']['seed']}"
    optimizers = [one.get("train", {}).get("optimizer", {}).get("opt") for one in (before, wanted)]
    if optimizers[0] not in (None, optimizers[1]):
        yield f"train.optimizer.opt {optimizers[0]}, now {optimizers[1]}"
    stages: Sequence[Any] = before.get("train", {}).get("stages", ())
    for number, (old, new) in enumerate(zip(stages, wanted["train"]["stages"], strict=False)):
        for key in Stage.model_fields:
            if key in _OF_A_STAGE and old.get(key) != new.get(key):
                yield f"stage {number}: {key} {old.get(key)}, now {new.get(key)}"


def copy(source: Path, target: Path) -> None:
    """Copies a checkpoint, weights first: a target whose sidecar does not belong to it is refused when it is
    loaded."""
    for origin, duplicate in ((source, target), (sidecar_path(source), sidecar_path(target))):
        partial = duplicate.with_suffix(duplicate.suffix + ".partial")
        shutil.copyfile(origin, partial)
        partial.replace(duplicate)
