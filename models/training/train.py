"""Training in stages: language on text, vision on crops, then all together (paper section 3.4)."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from models.abinet import NETWORKS, ABINet, NetworkConfig
from models.checkpoints import Sidecar, load_checkpoint, save_checkpoint
from models.data.words import MAX_LENGTH, Split, WordSampler
from models.preprocessing import Preprocessing
from models.training.crops import Batch, CropSource, batches_ahead, make_batches
from models.training.evaluate import is_right
from models.training.losses import JointLoss, LanguageLoss, VisionLoss
from models.training.spelling import spelling_batches

LOSSES: dict[str, type[nn.Cell]] = {"language": LanguageLoss, "vision": VisionLoss, "joint": JointLoss}
WARM_UP = 200
TEST_CROPS = 256


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe; ``plain`` and ``longest`` as in :class:`CropSource`."""

    stage: str
    steps: int
    batch_size: int
    lr: float
    plain: float = 0.0
    longest: int = MAX_LENGTH

    def __post_init__(self) -> None:
        if self.stage not in LOSSES:
            raise ValueError(f"unknown stage {self.stage!r}; known: {', '.join(LOSSES)}")

    def learning_rates(self) -> list[float]:
        """Linear warm-up, then a cosine down to 1 % at the last step."""
        warm_up = min(WARM_UP, self.steps // 10 + 1)
        return [
            self.lr
            * min(1.0, (step + 1) / warm_up)
            * (0.505 + 0.495 * math.cos(math.pi * step / max(1, self.steps - 1)))
            for step in range(self.steps)
        ]


@dataclass(frozen=True)
class Recipe:
    """What a configuration file says."""

    name: str
    network: NetworkConfig
    seed: int
    clip_norm: float
    log_interval: int
    val_interval: int
    stages: tuple[Stage, ...]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """From the YAML's content.

        Raises:
            ValueError: an unknown network or stage, or a missing key.
        """
        try:
            name, train = values["network"], values["train"]
            return cls(
                name,
                NETWORKS[name],
                values["system"]["seed"],
                train["clip_norm"],
                train["log_interval"],
                train["val_interval"],
                tuple(Stage(**stage) for stage in train["stages"]),
            )
        except KeyError as error:
            raise ValueError(f"the recipe lacks {error}, or names no known network") from None
        except TypeError as error:
            raise ValueError(f"the recipe has a stage that is not understood: {error}") from None


class TrainingStep(nn.Cell):
    """Loss, gradients clipped to a global norm, one step of Adam."""

    def __init__(self, loss: nn.Cell, learning_rates: list[float], clip_norm: float) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ms.ParameterTuple(loss.trainable_params())
        self.optimizer = nn.Adam(self.parameters, learning_rate=learning_rates)
        self.forward_and_gradients = nn.ForwardValueAndGrad(loss, self.parameters, get_by_list=True)
        self.clip_norm = clip_norm

    def construct(self, inputs: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        loss, gradients = self.forward_and_gradients(inputs, labels, lengths)
        self.optimizer(ops.clip_by_global_norm(gradients, self.clip_norm))
        return loss


class Trainer:
    """Runs a recipe's stages one after another; leaves NAME.ckpt and curves.csv in ``folder``.

    A stage whose checkpoint is already in ``folder`` is not run again, so that a killed training continues
    with the stage that it was in.
    """

    def __init__(
        self, recipe: Recipe, fonts: list[Path], words: Callable[[Split], WordSampler], folder: Path
    ) -> None:
        ms.set_context(mode=ms.GRAPH_MODE)
        ms.set_seed(recipe.seed)
        self.recipe = recipe
        self.fonts = fonts
        self.words = words
        self.folder = folder
        self.preprocessing = Preprocessing()
        self.network = ABINet(recipe.network)
        self.test = self._test_set()
        self.started = time.monotonic()
        self.samples = 0

    def run(self, report: Callable[[str], None] = print) -> Path:
        """Trains; returns the path of the final checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, stage in enumerate(self.recipe.stages):
            path = self.folder / f"stage{number}_{stage.stage}.ckpt"
            if path.exists():
                trained, sidecar = load_checkpoint(path)
                ms.load_param_into_net(self.network, trained.parameters_dict())
                self.samples = sidecar.training["samples"]
                report(f"{path.name}: already trained")
                continue
            self._run_stage(number, stage, report)
            self._save(path, stage)
        final = self.folder / f"{self.recipe.name}.ckpt"
        self._save(final, self.recipe.stages[-1])
        return final

    def _run_stage(self, number: int, stage: Stage, report: Callable[[str], None]) -> None:
        recipe = self.recipe
        loss = LOSSES[stage.stage](self.network, recipe.network.steps)
        step = TrainingStep(loss, stage.learning_rates(), recipe.clip_norm).set_train()
        batches = self._batches(number, stage)
        losses: list[float] = []
        for count in range(1, stage.steps + 1):
            inputs, labels, lengths = next(batches)
            losses.append(float(step(Tensor(inputs), Tensor(labels), Tensor(lengths)).asnumpy()))
            self.samples += stage.batch_size
            last = count == stage.steps
            if count % recipe.log_interval == 0 or last:
                row: dict[str, Any] = {
                    "stage": stage.stage,
                    "step": count,
                    "seconds": round(time.monotonic() - self.started),
                    "samples": self.samples,
                    "loss": round(float(np.mean(losses)), 4),
                }
                if stage.stage != "language" and (count % recipe.val_interval == 0 or last):
                    row.update(self.accuracy())
                    self._save(self.folder / f"{recipe.name}.ckpt", stage)
                self._log(row)
                report("  ".join(f"{key} {value}" for key, value in row.items()))
                losses = []

    def accuracy(self) -> dict[str, float]:
        """Share of held-out crops read without a mistake, by vision and by the last fused reading."""
        images, labels, _ = self.test
        self.network.set_train(False)
        outputs = [self.network(Tensor(images[i : i + 64])) for i in range(0, len(images), 64)]
        self.network.set_train(True)
        figures = {}
        for name, index in (("vision", 0), ("fused", -1)):
            logits = np.concatenate([output[index].asnumpy() for output in outputs])
            figures[name] = round(float(is_right(logits, labels).mean()), 4)
        return figures

    def _batches(self, number: int, stage: Stage) -> Iterator[Batch]:
        recipe, words = self.recipe, self.words("train")
        seed = recipe.seed * 1000 + number
        if stage.stage == "language":
            return spelling_batches(words, recipe.network, stage.batch_size, seed)
        source = CropSource(self.fonts, words, seed, "train", stage.plain, stage.longest)
        return batches_ahead(source, recipe.network, self.preprocessing, stage.batch_size)

    def _test_set(self) -> Batch:
        source = CropSource(self.fonts, self.words("test"), self.recipe.seed, "test")
        return next(make_batches(source, self.recipe.network, self.preprocessing, TEST_CROPS, 0))

    def _save(self, path: Path, stage: Stage) -> None:
        training = {
            "recipe": self.recipe.name,
            "seed": self.recipe.seed,
            "stage": stage.stage,
            "samples": self.samples,
            "minutes": round((time.monotonic() - self.started) / 60, 1),
            "mindspore": ms.__version__,
        }
        save_checkpoint(self.network, path, Sidecar(self.recipe.network, self.preprocessing, training))

    def _log(self, row: dict[str, Any]) -> None:
        path = self.folder / "curves.csv"
        columns = ("stage", "step", "seconds", "samples", "loss", "vision", "fused")
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            if new:
                writer.writeheader()
            writer.writerow(row)
