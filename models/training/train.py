"""Training in stages: language on text, vision on crops, then all together, then on its own labels too
(paper section 3.4)."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from tqdm import tqdm

from models.abinet.abinet import ABINet
from models.checkpoints import Sidecar, load_checkpoint, save_checkpoint, sidecar_path
from models.evaluation.scoring import is_right
from models.preprocessing import Preprocessing
from models.training.batches import Batch, batches_ahead
from models.training.curves import Curves
from models.training.data import VALIDATION_BATCH, TrainingData, unlabelled_numbers
from models.training.losses import JointLoss, LanguageLoss, VisionLoss
from models.training.recipe import Recipe, Stage
from models.training.self_training import pseudo_labels, read_labels, write_labels
from models.training.state import Progress, load_parameters, load_progress, save_state
from models.training.step import TrainingStep

LOSSES: dict[str, type[nn.Cell]] = {
    "language": LanguageLoss,
    "vision": VisionLoss,
    "joint": JointLoss,
    "self_training": JointLoss,
}


class Trainer:
    """Runs a recipe's stages one after another and leaves in ``folder``:

    NAME.ckpt (the best of the last stage, or without validation its last), best.ckpt and last.ckpt of the
    stage in progress, stageN_NAME.ckpt of each finished one, curves.csv and curves.png. Started again after
    a kill it goes on from the last validation, with the same losses as if it had not been stopped.

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
        ms.set_context(mode=ms.GRAPH_MODE)
        ms.set_seed(recipe.system.seed)
        self.recipe = recipe
        self.folder = folder
        self.rank, self.ranks = rank, ranks
        self.report = report if rank == 0 else lambda line: None
        self.bar = bar and rank == 0
        self.preprocessing = Preprocessing(shrink_by_area=True)
        self.network = ABINet(recipe.sizes)
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

    def _run_stage(self, stage: Stage) -> None:
        steps = self.data.steps(stage, self.ranks)
        step = self._training_step(stage, steps)
        parameters = {p.name: p for p in [*self.network.get_parameters(), *step.optimizer.get_parameters()]}
        progress = self.progress
        if progress.steps:
            load_parameters(self.state_path, parameters.values())
            self.curves.forget_after(progress.stage, progress.steps)
            # Dropout's own generator is not part of the state: what it draws differs from an unbroken run.
            ms.set_seed(self.recipe.system.seed + progress.samples)
            self.report(
                f"stage {progress.stage} {stage.stage}: goes on from step {progress.steps} of {steps}"
            )
        elif self.rank == 0:
            self.best_path.unlink(missing_ok=True)
            self.curves.forget_after(progress.stage, 0)
        self.resumed_at = time.monotonic() - progress.seconds
        losses: list[float] = []
        logged = time.monotonic(), progress.samples
        title = f"{progress.stage} {stage.stage}"
        with (
            closing(self._batches(stage)) as batches,
            tqdm(total=steps, initial=progress.steps, desc=title, disable=not self.bar, unit="step") as bar,
        ):
            while progress.steps < steps:
                batch = next(batches)
                losses.append(float(step(*map(Tensor, batch[:3])).asnumpy()))
                progress.steps += 1
                progress.samples += stage.batch_size * self.ranks
                progress.skipped += batch.skipped
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
                last = progress.steps == steps
                validating = last or progress.steps % self.recipe.train.val_interval == 0
                if validating or progress.steps % self.recipe.train.log_interval == 0:
                    rate = (progress.samples - logged[1]) / (time.monotonic() - logged[0])
                    self._log(stage, float(np.mean(losses)), rate, validating)
                    losses, logged = [], (time.monotonic(), progress.samples)
                if validating:
                    self._save(self.last_path)
                    save_state(self.state_path, parameters.values(), progress)

    def _training_step(self, stage: Stage, steps: int) -> TrainingStep:
        # Otherwise MindSpore collects the previous stage's step while it compiles this one, forgets
        # that it did, and compiles it a second time.
        gc.collect()
        loss = LOSSES[stage.stage](self.network, self.recipe.sizes.steps, self.ranks)
        step = TrainingStep(
            loss,
            stage.learning_rates(steps),
            self.recipe.train.clip_norm,
            drop_overflow=self.recipe.system.drop_overflow_update,
            ranks=self.ranks,
        )
        return step.set_train()

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
        if validating and stage.stage != "language" and self.recipe.system.val_while_train:
            figures = self.accuracy()
            row.update(figures)
            reached = figures["vision" if stage.stage == "vision" else "fused"]
            if reached > progress.best:
                progress.best = reached
                self._save(self.best_path)
        line = "  ".join(f"{key} {value}" for key, value in row.items() if key not in ("stage", "name"))
        skipped = f"  skipped {progress.skipped}" if progress.skipped else ""
        self.report(f"{progress.stage} {stage.stage}  {line}{skipped}")
        if self.rank == 0:
            self.curves.append(row)
            if validating:
                self.curves.draw()

    def accuracy(self) -> dict[str, float]:
        """Share of the validation crops read without a mistake, by vision and by the last fused reading."""
        right: list[np.ndarray] = []
        self.network.set_train(False)
        for images, labels in self.data.validation():
            filled = np.concatenate([images, np.repeat(images[:1], VALIDATION_BATCH - len(images), axis=0)])
            outputs = self.network(Tensor(filled))
            read = [outputs[index].asnumpy()[: len(images)] for index in (0, -1)]
            right.append(np.stack([is_right(logits, labels) for logits in read]))
        self.network.set_train(True)
        vision, fused = np.concatenate(right, axis=1).mean(axis=1)
        return {"vision": round(float(vision), 4), "fused": round(float(fused), 4)}

    def _batches(self, stage: Stage) -> Generator[Batch, None, None]:
        """The stage's batches from the present step on."""
        seed = self.recipe.system.seed * 1000 + self.progress.stage
        workers = self.recipe.train.dataset.num_workers

        def ahead(labels: dict[int, str] | None = None) -> Generator[Batch, None, None]:
            first = self.progress.steps * self.ranks + self.rank
            return batches_ahead(self.data.batches(stage, seed, labels), first, self.ranks, workers)

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
        self.network.set_train(False)
        with tqdm(total=len(numbers), desc="labelling", disable=not self.bar, unit="crop") as bar:
            labels = pseudo_labels(
                self.network,
                self.recipe.sizes,
                self.preprocessing,
                sets,
                numbers,
                stage.certainty,
                bar.update,
            )
        self.network.set_train(True)
        write_labels(path, labels)
        self.report(
            f"{len(labels)} of {len(numbers)} unlabelled crops are at least {stage.certainty} certain"
        )
        return read_labels(path)

    def _load(self, path: Path) -> None:
        trained, sidecar = load_checkpoint(path)
        if sidecar.network != self.recipe.sizes:
            raise ValueError(f"{path}: a checkpoint of another network; choose another folder")
        ms.load_param_into_net(self.network, trained.parameters_dict())
        self.progress.samples = sidecar.training["samples"]
        self.progress.seconds = 60 * sidecar.training["minutes"]

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
            "mindspore": ms.__version__,
        }
        save_checkpoint(self.network, path, Sidecar(self.recipe.sizes, self.preprocessing, training))

    def _copy(self, source: Path, target: Path) -> None:
        """Weights first: a target whose sidecar does not belong to it is refused when it is loaded."""
        if self.rank == 0:
            for origin, copy in ((source, target), (sidecar_path(source), sidecar_path(target))):
                partial = copy.with_suffix(copy.suffix + ".partial")
                shutil.copyfile(origin, partial)
                partial.replace(copy)
