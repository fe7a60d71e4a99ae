"""Training in stages: language on text, vision on crops, then all together, then on its own labels too
(paper section 3.4)."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from tqdm import tqdm

from models.checkpoints.checkpoint import Sidecar, check_hash, read_checkpoint, sidecar_path, write_checkpoint
from models.evaluation.scoring import is_right
from models.preprocessing import Preprocessing
from models.training.backends import open_backend
from models.training.batches import Batch, batches_ahead
from models.training.curves import Curves
from models.training.data import VALIDATION_BATCH, TrainingData, unlabelled_numbers
from models.training.recipe import Recipe, Stage
from models.training.self_training import pseudo_labels, read_labels, write_labels
from models.training.state import Progress, load_progress, load_state, save_state

#: By which of its figures a stage's best checkpoint is chosen.
DECISIVE = {"language": "corrected", "vision": "vision", "joint": "fused", "self_training": "fused"}


class Trainer:
    """Runs a recipe's stages one after another and leaves in ``folder``:

    NAME.ckpt (the best of the last stage, or without validation its last), best.ckpt and last.ckpt of the
    stage in progress, stageN_NAME.ckpt of each finished one, curves.csv, validation.csv and curves.png.
    Started again after a kill it goes on from the last validation, with the same losses as if it had not
    been stopped.

    ``rank`` of ``ranks`` processes trains on its share of each batch; only rank 0 writes.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        rank: int = 0,
        ranks: int = 1,
        report: Callable[[str], None] = print,
        bar: bool = False,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.rank, self.ranks = rank, ranks
        self.report = report if rank == 0 else lambda line: None
        self.bar = bar and rank == 0
        self.preprocessing = Preprocessing(shrink_by_area=True)
        self.backend = open_backend(recipe, ranks)
        self.data = TrainingData(recipe, self.preprocessing)
        self.curves = Curves(folder)
        self.progress = Progress()
        self.resumed_at = time.monotonic()

    def run(self) -> Path:
        """Trains; returns the path of the final checkpoint.

        Raises:
            ValueError: the folder holds another recipe's training, or data is missing.
            RuntimeError: a process that prepares batches failed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = load_progress(self.state_path)
        self._say_what_is_missing()
        if not saved:
            self._initialise()
        for number, stage in enumerate(self.recipe.train.stages):
            finished = self.folder / f"stage{number}_{stage.stage}.ckpt"
            if finished.exists():
                self._load(finished)
                self.report(f"{finished.name}: already trained")
                continue
            self.progress.stage, self.progress.steps, self.progress.best = number, 0, -1.0
            if saved and saved.stage == number:
                self.progress = saved
            self._run_stage(stage)
            self._copy(self.best_path if self.best_path.exists() else self.last_path, self.final_path)
            self._copy(self.last_path, finished)
        return self.final_path

    @property
    def state_path(self) -> Path:
        return self.folder / ("resume.npz" if self.rank == 0 else f"resume_{self.rank}.npz")

    @property
    def last_path(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def best_path(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def final_path(self) -> Path:
        return self.folder / f"{self.recipe.network}.ckpt"

    def _say_what_is_missing(self) -> None:
        for dataset in (self.recipe.train.dataset, self.recipe.eval.dataset):
            if dataset.is_missing:
                self.report(f"{dataset.dataset_root}: no such folder: {dataset.without}")

    def _initialise(self) -> None:
        """Starts from the weights that the recipe names, if it names any."""
        init = self.recipe.train.init
        whole = {"": init} if isinstance(init, Path) else init or {}
        parameters = self.backend.parameters()
        for part, path in whole.items():
            given, _ = self._read(path)
            parameters.update({name: value for name, value in given.items() if name.startswith(part)})
            self.backend.load(parameters, str(path))

    def _run_stage(self, stage: Stage) -> None:
        steps = self.data.steps(stage, self.ranks)
        self.backend.begin(stage, stage.learning_rates(steps), self._seed)
        progress = self.progress
        if progress.steps:
            self._restore()
            self.curves.forget_after(progress.stage, progress.steps)
            self.report(
                f"stage {progress.stage} {stage.stage}: goes on from step {progress.steps} of {steps}"
            )
        elif self.rank == 0:
            self.best_path.unlink(missing_ok=True)
            self.curves.forget_after(progress.stage, 0)
        self.resumed_at = time.monotonic() - progress.seconds
        losses: list[SupportsFloat] = []
        logged = time.monotonic(), progress.samples
        title = f"{progress.stage} {stage.stage}"
        with (
            closing(self._batches(stage)) as batches,
            tqdm(total=steps, initial=progress.steps, desc=title, disable=not self.bar, unit="step") as bar,
        ):
            while progress.steps < steps:
                batch = next(batches)
                losses.append(self.backend.step(batch))
                progress.steps += 1
                progress.samples += stage.batch_size * self.ranks
                progress.skipped += batch.skipped
                bar.update()
                last = progress.steps == steps
                validating = last or progress.steps % self.recipe.train.val_interval == 0
                if validating or progress.steps % self.recipe.train.log_interval == 0:
                    loss = float(np.mean([float(one) for one in losses]))
                    rate = (progress.samples - logged[1]) / (time.monotonic() - logged[0])
                    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                    self._log(stage, loss, rate, validating)
                    losses, logged = [], (time.monotonic(), progress.samples)
                if validating:
                    self._save(self.last_path)
                    save_state(self.state_path, self.backend.state(), progress)

    @property
    def _seed(self) -> int:
        """Of the stage in progress."""
        return self.recipe.system.seed * 1000 + self.progress.stage

    def _restore(self) -> None:
        try:
            self.backend.restore(load_state(self.state_path))
        except ValueError as error:
            raise ValueError(
                f"{self.state_path}: the state of another recipe or framework ({error} does not fit);"
                " remove it or choose another folder"
            ) from None

    def _log(self, stage: Stage, loss: float, rate: float, validating: bool) -> None:
        progress = self.progress
        progress.seconds = time.monotonic() - self.resumed_at
        row: dict[str, Any] = {
            "stage": progress.stage,
            "name": stage.stage,
            "step": progress.steps,
            "seconds": round(progress.seconds),
            "samples": progress.samples,
            "rate": round(rate, 1),
            "loss": round(loss, 6),
        }
        if validating and self.recipe.system.val_while_train:
            row.update(self._validate(stage, row))
        line = "  ".join(f"{key} {value}" for key, value in row.items() if key not in ("stage", "name"))
        skipped = f"  skipped {progress.skipped}" if progress.skipped else ""
        self.report(f"{progress.stage} {stage.stage}  {line}{skipped}")
        if self.rank == 0:
            self.curves.append(row)
            if validating:
                self.curves.draw()

    def _validate(self, stage: Stage, row: Mapping[str, Any]) -> dict[str, float]:
        """The figures of all validation sets together; notes those of each and keeps the best weights."""
        sets = self.corrections(stage) if stage.stage == "language" else self.accuracy()
        counts: Counter[str] = Counter()  # their sum would lose what is 0
        for count in sets.values():
            counts.update(count)
        figures = shares(counts)
        if self.rank == 0:
            known = {key: row[key] for key in ("stage", "name", "step", "samples")}
            self.curves.append_sets(
                {**known, "set": name, "count": count["count"], **shares(count)}
                for name, count in sets.items()
            )
        reached = figures[DECISIVE[stage.stage]]
        if reached > self.progress.best:
            self.progress.best = reached
            self._save(self.best_path)
        return figures

    def corrections(self, stage: Stage) -> dict[str, Counter[str]]:
        """Of misread words, in each kind of words, those that the language model corrects."""
        sets: dict[str, Counter[str]] = {}
        for name, batch in self.data.misread_words(stage):
            broken = ~is_right(batch.inputs, batch.labels)
            right = is_right(self.backend.spell(batch.inputs, batch.lengths), batch.labels)
            corrected = int((broken & right).sum())
            sets.setdefault(name, Counter()).update(count=int(broken.sum()), corrected=corrected)
        return sets

    def accuracy(self) -> dict[str, Counter[str]]:
        """Of each validation set the crops read without a mistake by vision and by the last fused reading."""
        sets: dict[str, Counter[str]] = {}
        for name, images, labels in self.data.validation():
            filled = np.concatenate([images, np.repeat(images[:1], VALIDATION_BATCH - len(images), axis=0)])
            outputs = self.backend.read(filled)
            vision, fused = (is_right(outputs[index][: len(images)], labels).sum() for index in (0, -1))
            sets.setdefault(name, Counter()).update(count=len(images), vision=int(vision), fused=int(fused))
        return sets

    def _batches(self, stage: Stage) -> Generator[Batch, None, None]:
        """The stage's batches from the present step on."""
        workers = self.recipe.train.dataset.num_workers or self.backend.feeders

        def ahead(labels: dict[int, str] | None = None) -> Generator[Batch, None, None]:
            first = self.progress.steps * self.ranks + self.rank
            return batches_ahead(self.data.batches(stage, self._seed, labels), first, self.ranks, workers)

        if stage.stage != "self_training":
            yield from ahead()
        while stage.stage == "self_training":
            labels = self._pseudo_labels(stage)
            with closing(ahead(labels)) as batches:
                yield from islice(batches, stage.refresh - self.progress.steps % stage.refresh)

    def _pseudo_labels(self, stage: Stage) -> dict[int, str]:
        """The labels that the network gives its share of the unlabelled images now, or, in between two such
        labellings, those that it gave at the last."""
        assert stage.unlabelled is not None
        path = self.folder / ("pseudo_labels.tsv" if self.rank == 0 else f"pseudo_labels_{self.rank}.tsv")
        if self.progress.steps % stage.refresh and path.exists():
            return read_labels(path)
        sets, numbers = unlabelled_numbers(stage.unlabelled, self.rank, self.ranks)
        with tqdm(total=len(numbers), desc="labelling", disable=not self.bar, unit="crop") as bar:
            labels = pseudo_labels(
                self.backend.read,
                self.recipe.sizes,
                self.preprocessing,
                sets,
                numbers,
                stage.certainty,
                bar.update,
            )
        write_labels(path, labels)
        self.report(
            f"{len(labels)} of {len(numbers)} unlabelled crops are at least {stage.certainty} certain"
        )
        return read_labels(path)

    def _load(self, path: Path) -> None:
        parameters, sidecar = self._read(path)
        self.backend.load(parameters, str(path))
        self.progress.samples = sidecar.training["samples"]
        self.progress.seconds = 60 * sidecar.training["minutes"]

    def _read(self, path: Path) -> tuple[dict[str, np.ndarray], Sidecar]:
        parameters, sidecar = read_checkpoint(path)
        check_hash(path, sidecar)
        if sidecar.network != self.recipe.sizes:
            raise ValueError(f"{path}: a checkpoint of another network than {self.recipe.network}")
        return parameters, sidecar

    def _save(self, path: Path) -> None:
        if self.rank:
            return
        stage = self.recipe.train.stages[self.progress.stage]
        training = {
            "recipe": self.recipe.network,
            "seed": self.recipe.system.seed,
            "stage": stage.stage,
            "samples": self.progress.samples,
            "minutes": round(self.progress.seconds / 60, 1),
            **self.backend.release,
        }
        sidecar = Sidecar(self.recipe.sizes, self.preprocessing, training)
        write_checkpoint(self.backend.parameters(), path, sidecar)

    def _copy(self, source: Path, target: Path) -> None:
        """Weights first: a target whose sidecar does not belong to it is refused when it is loaded."""
        if self.rank == 0:
            for origin, copy in ((source, target), (sidecar_path(source), sidecar_path(target))):
                partial = copy.with_suffix(copy.suffix + ".partial")
                shutil.copyfile(origin, partial)
                partial.replace(copy)


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """What counts of right readings, and of what was read, say in figures of 0 to 1; 0 of nothing."""
    read = max(1, counts["count"])
    return {name: round(value / read, 4) for name, value in counts.items() if name != "count"}
