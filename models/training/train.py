"""Training in stages: language on text, vision on crops, then all together, then on its own labels too
(paper section 3.4)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from tqdm import tqdm

from models.checkpoints.checkpoint import Sidecar, read_sidecar, sidecar_path, write_checkpoint
from models.checkpoints.pretrained import read_pretrained
from models.training.backends import open_backend
from models.training.batches import Batch, batches_ahead
from models.training.curves import Curves
from models.training.data import TrainingData, unlabelled_numbers
from models.training.folder import Folder
from models.training.plan import StagePace, fonts_line, stages_line
from models.training.ranks import Ranks
from models.training.recipe import Recipe, Stage, Weights
from models.training.self_training import pseudo_labels, read_labels, write_labels
from models.training.state import Progress, load_progress, load_state, save_state
from models.training.stopping import Stopped, Stopping
from models.training.validation import accuracy, corrections, joined, shares, total
from service.bundle_format.preprocessing import Preprocessing

#: The figure by which a stage's best checkpoint is chosen.
DECISIVE = {"language": "corrected", "vision": "vision", "joint": "fused", "self_training": "fused"}


class Trainer:
    """Runs a recipe's stages one after another and leaves in ``folder``:

    NAME.ckpt (the best of the last stage, or without validation its last), best.ckpt and last.ckpt of the
    stage in progress, stageN_NAME.ckpt of each finished one (its best, from which the next stage starts),
    recipe.yaml, curves.csv, validation.csv and curves.png. Started again after a kill it goes on from the
    last validation, with the same losses as if it had not been stopped.

    Each of ``ranks`` trains on its share of the batch and validates its share of the crops. Only the first
    one reads and writes the folder; the others get progress and weights from it.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        ranks: Ranks | None = None,
        report: Callable[[str], None] = print,
        bar: bool = False,
        stopping: Stopping | None = None,
    ) -> None:
        self.recipe = recipe
        self.ranks = ranks or Ranks()
        self.stages = [stage.on(self.ranks.count) for stage in recipe.train.stages]
        self.folder = Folder(folder, recipe)
        self.report = report if self.ranks.first else lambda line: None
        self.bar = bar and self.ranks.first
        self.stopping = stopping or Stopping()
        self.preprocessing = Preprocessing(shrink_by_area=recipe.model.shrink_by_area)
        self.data = TrainingData(recipe, self.preprocessing)
        self.data.check(self.stages)
        self.backend = open_backend(recipe, self.ranks.count)
        self.shapes = {name: value.shape for name, value in self.backend.parameters().items()}
        self.curves = Curves(folder)
        self.progress = Progress()
        self.resumed_at = time.monotonic()

    def run(self) -> Path:
        """Trains; returns the path of the final checkpoint.

        Raises:
            ValueError: the folder holds another recipe's training, or data is missing.
            RuntimeError: a process that prepares batches failed.
            Stopped: ``stopping`` was wanted; the state is saved.
        """
        self._check_pretrained()
        finished, saved = self._begin()
        self._say_what_is_missing()
        self._say_plan()
        for number, stage in enumerate(self.stages):
            if number in finished:
                self.report(f"{self.folder.finished(number).name}: already trained")
                continue
            self._enter(number, saved)
            if not self.progress.steps:
                self._start_from(stage, number)
            self._run_stage(stage)
            if self.ranks.first:
                self.folder.keep(number)
        self.ranks.of_first(None)  # the first one writes last: the others wait for it
        return self.folder.final

    def _begin(self) -> tuple[list[int], Progress | None]:
        """Begins with the finished stages and the state of the one in progress, as the first process finds
        them.
        """
        self._check_agreement()
        told = None
        if self.ranks.first:
            saved = load_progress(self.folder.state)
            self.folder.open()
            finished = [n for n in range(len(self.stages)) if self.folder.finished(n).exists()]
            told = finished, saved and asdict(saved)
        finished, saved = self.ranks.of_first(told)
        return finished, Progress(**saved) if saved else None

    def _check_agreement(self) -> None:
        """Raises ValueError in every process if the processes would not train the same; paths may differ."""
        train = {"stages", "clip_norm", "optimizer", "weight_decay", "average", "val_interval", "val_epochs"}
        mine = self.recipe.model_dump_json(include={"network": True, "system": True, "train": train})
        steps = [self.data.steps(stage, self.ranks.count) for stage in self.stages]
        told = self.ranks.of_all([mine, steps])
        for rank, (recipe, counts) in enumerate(told):
            if recipe != told[0][0]:
                raise ValueError(
                    f"process {rank} of {self.ranks.count} was started with another recipe than process 0;"
                    " start them all with the same one"
                )
            if counts != told[0][1]:
                raise ValueError(
                    f"process {rank} of {self.ranks.count} finds other data than process 0: its stages have"
                    f" {counts} steps, there {told[0][1]}; give every machine the same sets"
                )

    def _enter(self, number: int, saved: Progress | None) -> None:
        """Sets the training's progress: within stage ``number``, or at its beginning."""
        progress = self.progress
        if saved and saved.stage == number:
            self._check_batch(saved)
            self.progress = saved
            return
        if saved and saved.stage == number - 1:
            progress = saved  # the samples that earlier stages have used
        elif number and not progress.samples and self.ranks.first:
            before = read_sidecar(sidecar_path(self.folder.finished(number - 1))).training
            progress.samples = before.get("samples", 0)
            progress.seconds = 60 * before.get("minutes", 0)
        self.progress = Progress(number, 0, progress.samples, progress.skipped, progress.seconds)

    def _check_batch(self, saved: Progress) -> None:
        """Raises ValueError if the saved state has another global batch."""
        stage = self.stages[saved.stage]
        batch = stage.crops * self.ranks.count
        if saved.batch not in (0, batch):
            raise ValueError(
                f"{self.folder.state}: stage {saved.stage} was trained with global batches"
                f" of {saved.batch}, these {self.ranks.count} processes take {batch}: start as many"
                f" as before, or write global_batch_size: {saved.batch} instead of batch_size, which any"
                " number of processes keeps"
            )

    def _say_what_is_missing(self) -> None:
        for dataset in (self.recipe.train.dataset, self.recipe.eval.dataset):
            if dataset.is_missing:
                self.report(f"{dataset.dataset_root}: no such folder: {dataset.without}")

    def _check_pretrained(self) -> None:
        """Reads all weights that the recipe names once, so that a mistake does not show after hours."""
        for weights in (self.recipe.model.pretrained, *(stage.pretrained for stage in self.stages)):
            self._pretrained(weights)

    def _pretrained(self, weights: Weights | None) -> tuple[dict[str, np.ndarray], list[str]]:
        """The parameters of the files that the recipe names, and a line about each file."""
        if weights is None or not self.ranks.first:
            return {}, []
        parameters: dict[str, np.ndarray] = {}
        said = []
        for model, path in weights.items() if isinstance(weights, dict) else [("", weights)]:
            given = read_pretrained(path, self.recipe.sizes, self.shapes, model)
            parameters.update(given.parameters)
            said.append(given.said)
        return parameters, said

    def _start_from(self, stage: Stage, number: int) -> None:
        """The weights that a stage begins with: the best of the stage before, or at first the initial ones.
        Weights that the recipe names replace them. All processes take those of the first one.
        """
        parameters = self.backend.parameters()
        if number and self.ranks.first:
            before = read_pretrained(self.folder.finished(number - 1), self.recipe.sizes, self.shapes)
            parameters.update(before.parameters)
        for weights in (stage.pretrained,) if number else (self.recipe.model.pretrained, stage.pretrained):
            given, said = self._pretrained(weights)
            parameters.update(given)
            for line in said:
                self.report(f"stage {number} {stage.stage}: starts from {line}")
        self.backend.load(self.ranks.arrays_of_first(parameters), "the weights of the first process")

    def _run_stage(self, stage: Stage) -> None:
        steps = self.data.steps(stage, self.ranks.count)
        interval = self.data.validation_interval(stage, steps)
        self.backend.begin(stage, stage.learning_rates(steps), self._seed)
        progress = self.progress
        progress.batch = stage.crops * self.ranks.count
        if progress.steps:
            self._restore()
        if self.ranks.first:
            if not progress.steps:
                self.folder.best.unlink(missing_ok=True)
            self.curves.forget_after(progress.stage, progress.steps)
        self._say_how(stage, steps)
        self.resumed_at = time.monotonic() - progress.seconds
        losses: list[SupportsFloat] = []
        logged = time.monotonic(), progress.samples
        title, pace = f"{progress.stage} {stage.stage}", StagePace()
        with (
            closing(self._batches(stage)) as batches,
            tqdm(total=steps, initial=progress.steps, desc=title, disable=not self.bar, unit="step") as bar,
        ):
            while progress.steps < steps:
                if self.stopping.wanted:
                    self._stop(stage, steps, losses, logged)
                batch = next(batches)
                losses.append(self.backend.step(batch))
                progress.steps += 1
                progress.samples += progress.batch
                progress.skipped += batch.skipped
                bar.update()
                if line := pace.after(progress.steps, steps):
                    self.report(f"{title}: {line}")
                validating = progress.steps == steps or progress.steps % interval == 0
                if validating or progress.steps % self.recipe.train.log_interval == 0:
                    loss = self._log(stage, losses, logged, validating)
                    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                    losses, logged = [], (time.monotonic(), progress.samples)
                if validating:
                    self._save_all()

    def _stop(self, stage: Stage, steps: int, losses: list[SupportsFloat], logged: tuple[float, int]) -> None:
        """Saves and stops within the stage, between two validations.

        Raises:
            Stopped: always.
        """
        done = self.progress.steps
        if losses:
            self._log(stage, losses, logged, False)
        if done:
            self._save_all()
        raise Stopped(
            f"stopped at step {done} of {steps} of stage {self.progress.stage} {stage.stage}; the same"
            " command goes on from there"
        )

    def _save_all(self) -> None:
        """Saves the weights, and after them the state from which the training goes on."""
        self._save(self.folder.last)
        if self.ranks.first:
            save_state(self.folder.state, self.backend.state(), self.progress)

    @property
    def _seed(self) -> int:
        """The seed of the stage in progress."""
        return self.recipe.system.seed * 1000 + self.progress.stage

    def _say_plan(self) -> None:
        """Prints all stages, and whether there are as many fonts as the recipe was made with."""
        self.report(
            stages_line(self.stages, [self.data.steps(stage, self.ranks.count) for stage in self.stages])
        )
        dataset = self.recipe.train.dataset
        draws = any(stage.stage != "language" for stage in self.stages)
        if self.ranks.first and draws and (dataset.rendered or not dataset.roots):
            self.report(fonts_line(len(self.data.fonts), dataset.fonts_made_with))

    def _say_how(self, stage: Stage, steps: int) -> None:
        """Prints where the stage begins, its batch, and whether its rate was scaled to it."""
        progress, title = self.progress, f"stage {self.progress.stage} {stage.stage}"
        if progress.steps:
            self.report(f"{title}: goes on from step {progress.steps} of {steps}")
        written = self.recipe.train.stages[progress.stage]
        batch = f"global batch {progress.batch} of {self.ranks.count} x {stage.crops}, rate {stage.lr:g}"
        if written.lr != stage.lr:
            batch += f", scaled from {written.lr:g} at {written.global_batch_size}"
        elif written.global_batch_size:
            batch += ", as the recipe has it for any number of processes"
        self.report(f"{title}: {steps} steps, {batch}")

    def _restore(self) -> None:
        try:
            state = load_state(self.folder.state) if self.ranks.first else {}
            self.backend.restore(self.ranks.arrays_of_first(state))
        except ValueError as error:
            raise ValueError(
                f"{self.folder.state}: the state of another recipe or framework ({error} does not fit);"
                " remove it or choose another folder"
            ) from None

    def _log(
        self, stage: Stage, losses: list[SupportsFloat], logged: tuple[float, int], validating: bool
    ) -> float:
        """Prints and logs the steps since ``logged``, a time and its number of samples; returns their mean
        loss.
        """
        progress = self.progress
        loss = float(np.mean([float(one) for one in losses]))
        rate = (progress.samples - logged[1]) / (time.monotonic() - logged[0])
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
        if self.ranks.first:
            self.curves.append(row)
            if validating:
                self.curves.draw()
        return loss

    def _validate(self, stage: Stage, row: Mapping[str, Any]) -> dict[str, float]:
        """Returns the figures of all validation sets together; logs those of each, and keeps the best
        weights.
        """
        self._read_alike()
        share = slice(self.ranks.rank, None, self.ranks.count)
        if stage.stage == "language":
            mine = corrections(self.backend, self.data.misread_words(stage)[share])
        else:
            mine = accuracy(self.backend, self.data.validation(share), self.recipe.eval.batch_size)
        sets = joined(self.ranks.of_all(mine))
        figures = shares(total(sets))
        if self.ranks.first:
            known = {key: row[key] for key in ("stage", "name", "step", "samples")}
            self.curves.append_sets(
                {**known, "set": name, "count": count["count"], **shares(count)}
                for name, count in sets.items()
            )
        reached = figures.get(DECISIVE[stage.stage], -1.0)  # there is none if nothing could be read
        if reached > self.progress.best:
            self.progress.best = reached
            self._save(self.folder.best)
        return figures

    def _read_alike(self) -> None:
        """Makes all processes read with the saved batch-norm statistics, because each process has its own."""
        if self.ranks.count > 1:
            self.backend.read_with(self.ranks.arrays_of_first(self.backend.parameters()))

    def _batches(self, stage: Stage) -> Generator[Batch, None, None]:
        """The stage's batches from the present step on."""
        wanted = self.recipe.train.dataset.num_workers or self.backend.feeders
        workers = min(wanted, max(1, (os.cpu_count() or 1) // self.ranks.here))

        def ahead(labels: dict[int, str] | None = None) -> Generator[Batch, None, None]:
            first = self.progress.steps * self.ranks.count + self.ranks.rank
            return batches_ahead(
                self.data.batches(stage, self._seed, labels), first, self.ranks.count, workers
            )

        if stage.stage != "self_training":
            yield from ahead()
        while stage.stage == "self_training":
            labels = self._pseudo_labels(stage)
            with closing(ahead(labels)) as batches:
                yield from islice(batches, stage.refresh - self.progress.steps % stage.refresh)

    def _pseudo_labels(self, stage: Stage) -> dict[int, str]:
        """The network's present labels for this process's share of the unlabelled images, or, between two
        labellings, the latest ones.
        """
        assert stage.unlabelled is not None
        path = self.folder.pseudo_labels
        if self.progress.steps % stage.refresh:
            known = read_labels(path) if self.ranks.first and path.exists() else {}
            if told := self.ranks.of_first(list(known.items())):
                return dict(told)
        self._read_alike()
        sets, numbers = unlabelled_numbers(stage.unlabelled, self.ranks.rank, self.ranks.count)
        with tqdm(total=len(numbers), desc="labelling", disable=not self.bar, unit="crop") as bar:
            mine = pseudo_labels(
                self.backend.read,
                self.recipe.sizes,
                self.preprocessing,
                sets,
                numbers,
                stage.certainty,
                bar.update,
            )
        labels = dict(pair for part in self.ranks.of_all(list(mine.items())) for pair in part)
        if self.ranks.first:
            write_labels(path, labels)
        self.report(f"{len(labels)} unlabelled crops are at least {stage.certainty} certain")
        return {number: text for number, (text, _) in labels.items()}

    def _save(self, path: Path) -> None:
        if not self.ranks.first:
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
