"""Training in MindSpore: the step is one graph, on Ascend or CPU, in one process or several."""

from __future__ import annotations

import gc
from collections.abc import Mapping

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from models.abinet.abinet import ABINet
from models.checkpoints.checkpoint import load_parameters
from models.training.backends import averaging_share, check_state
from models.training.backends.mindspore_losses import JointLoss, LanguageLoss, VisionLoss
from models.training.backends.mindspore_precision import LOSS_SCALE, check_loss, in_half
from models.training.backends.mindspore_step import TrainingStep
from models.training.batches import Batch
from models.training.recipe import Recipe, Stage

LOSSES: dict[str, type[nn.Cell]] = {
    "language": LanguageLoss,
    "vision": VisionLoss,
    "joint": JointLoss,
    "self_training": JointLoss,
}
AVERAGE = "average"
HALF = ("O2", "O3")


class MindSporeBackend:
    """See :class:`~models.training.backends.Backend`. With several ``ranks`` each process has a share of the
    batch.

    ``system.amp_level``: O0 and ``auto`` are float32; O2 and O3 are float16, with scaled gradients and no
    step if they are not finite, and only if the first loss of each stage is as good as in float32.

    Raises:
        ValueError: the recipe asks for bfloat16.
    """

    feeders = 1

    def __init__(self, recipe: Recipe, ranks: int = 1) -> None:
        if recipe.system.amp_level == "O1":
            raise ValueError(
                "system.amp_level O1 needs system.framework torch; MindSpore trains in float32, or with"
                " O2 and O3 in float16"
            )
        ms.set_context(mode=ms.GRAPH_MODE)
        ms.set_seed(recipe.system.seed)
        self.recipe, self.ranks = recipe, ranks
        self.release = {"mindspore": ms.__version__}
        self.network = ABINet(recipe.sizes).set_train()
        # A second network reads: the average, or else a copy of the weights in training.
        self.reader = ABINet(recipe.sizes).set_train(False)
        self.average: Averaging | None = None
        self.reader_is_old = True

    def begin(self, stage: Stage, learning_rates: list[float], seed: int) -> None:
        if self.average:
            self.load(self.parameters(), "the average")
        # Otherwise MindSpore collects the previous stage's step while it compiles this one, forgets
        # that it did, and compiles it a second time.
        self.step_cell: TrainingStep | None = None
        gc.collect()
        train = self.recipe.train
        level = self.recipe.system.amp_level
        self.unchecked = LOSSES[stage.stage] if level in HALF else None
        loss = LOSSES[stage.stage](self.network, self.recipe.sizes.steps, self.ranks)
        self.step_cell = TrainingStep(
            in_half(loss, level) if level in HALF else loss,
            learning_rates,
            train.clip_norm,
            train.optimizer,
            weight_decay=train.weight_decay,
            drop_overflow=self.recipe.system.drop_overflow_update or level in HALF,
            ranks=self.ranks,
            scale=LOSS_SCALE if level in HALF else 1.0,
        ).set_train()
        self.average = Averaging(self.network) if train.average else None
        self.seed, self.steps = seed, 0

    def step(self, batch: Batch) -> float:
        assert self.step_cell is not None
        if self.unchecked:
            level = self.recipe.system.amp_level
            check_loss(self.network, self.recipe.sizes, self.unchecked, level, batch, self.ranks)
            self.unchecked = None
        loss = float(self.step_cell(*map(Tensor, batch[:3])).asnumpy())
        if self.average and self.recipe.train.average:
            self.average(Tensor(averaging_share(self.steps, self.recipe.train.average), ms.float32))
        self.steps += 1
        self.reader_is_old = True
        return loss

    def read(self, images: np.ndarray) -> list[np.ndarray]:
        return [output.asnumpy() for output in self._reader()(Tensor(images))]

    def spell(self, probabilities: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        logits, _ = self._reader().language(Tensor(probabilities), Tensor(lengths, ms.float32))
        return logits.asnumpy()

    def read_with(self, parameters: Mapping[str, np.ndarray]) -> None:
        load_parameters(self.reader, parameters, "the network in training")
        self.reader_is_old = False

    def _reader(self) -> ABINet:
        if self.reader_is_old:
            self.read_with(self.parameters())
        return self.reader

    def parameters(self) -> dict[str, np.ndarray]:
        if self.average:
            return {p.name.removeprefix(f"{AVERAGE}."): p.asnumpy() for p in self.average.averaged}
        return {p.name: p.asnumpy() for p in self.network.get_parameters()}

    def load(self, parameters: Mapping[str, np.ndarray], source: str) -> None:
        load_parameters(self.network, parameters, source)
        self.average, self.reader_is_old = None, True

    def state(self) -> dict[str, np.ndarray]:
        return {name: parameter.asnumpy() for name, parameter in self._stored().items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        stored = self._stored()
        check_state(state, {name: parameter.shape for name, parameter in stored.items()})
        for name, parameter in stored.items():
            parameter.set_data(Tensor(state[name]))
        self.steps = int(stored["global_step"].asnumpy()[0])
        self.reader_is_old = True
        # Dropout's own generator is not part of the state: what it draws differs from an unbroken run.
        ms.set_seed(self.seed + self.steps)

    def _stored(self) -> dict[str, ms.Parameter]:
        """Weights, moments and averages, by name."""
        assert self.step_cell is not None
        optimizer = self.step_cell.optimizer.get_parameters()
        averaged = self.average.averaged if self.average else []
        return {p.name: p for p in (*self.network.get_parameters(), *optimizer, *averaged)}


class Averaging(nn.Cell):
    """Moves ``averaged``, at first a copy of the network's parameters, towards them by a share."""

    def __init__(self, network: ABINet) -> None:
        super().__init__(auto_prefix=False)
        self.current = ms.ParameterTuple(network.get_parameters())
        self.averaged = self.current.clone(AVERAGE, init="same")
        self.assign = ops.Assign()

    def construct(self, share: Tensor) -> Tensor:
        for averaged, current in zip(self.averaged, self.current):  # noqa: B905 (MindSpore's graphs know no strict)
            self.assign(averaged, averaged + share * (current - averaged))
        return share
