"""Training in PyTorch, on CUDA or CPU, in one process."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoints.checkpoint import check_names
from models.checkpoints.importers import from_official, to_official
from models.torch_twin.abinet import ABINet
from models.training.backends import averaging_share, check_state
from models.training.backends.torch_losses import LOSSES
from models.training.batches import Batch
from models.training.recipe import Optimizer, Recipe, Stage

#: Crops, and turns, of the measurement that chooses between float32 and bfloat16.
MEASURED_CROPS, MEASURED_TURNS = 16, 3
MOST_FEEDERS = 16


class TorchBackend:
    """See :class:`~models.training.backends.Backend`.

    ``system.amp_level``: O0 is float32, O1 bfloat16 if autocast allows it; ``auto`` is bfloat16 on CUDA,
    and on a CPU, of which some compute faster in bfloat16 and some slower, whatever takes less time for a few
    forward and backward passes.

    Raises:
        ValueError: the recipe distributes the training, which only msrun and MindSpore do here.
    """

    def __init__(self, recipe: Recipe) -> None:
        if recipe.system.distribute:
            raise ValueError("system.distribute is for MindSpore and msrun; with PyTorch one process trains")
        if recipe.system.amp_level in ("O2", "O3"):
            raise ValueError(
                f"system.amp_level {recipe.system.amp_level} is for MindSpore; with PyTorch write O1 or auto"
            )
        torch.manual_seed(recipe.system.seed)
        self.recipe = recipe
        self.release = {"torch": torch.__version__}
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        on_cuda = self.device.type == "cuda"
        self.feeders = max(1, min(MOST_FEEDERS, (os.cpu_count() or 1) - 1)) if on_cuda else 1
        self.network = ABINet(recipe.sizes).to(self.device)
        self.averaged = copy.deepcopy(self.network) if recipe.train.average else self.network
        self.bfloat16: bool | None = {"O0": False, "O1": True, "auto": on_cuda or None}[
            recipe.system.amp_level
        ]

    def begin(self, stage: Stage, learning_rates: list[float], seed: int) -> None:
        torch.manual_seed(seed)
        train = self.recipe.train
        self.network.load_state_dict(self.averaged.state_dict())
        self.loss, self.rates, self.steps = LOSSES[stage.stage], learning_rates, 0
        self.trims = stage.stage == "language"
        learning = (
            self.network if stage.stage in ("joint", "self_training") else getattr(self.network, stage.stage)
        )
        self.learning = list(learning.parameters())
        self.optimizer = _optimizer(train.optimizer, self.learning, learning_rates[0], train.weight_decay)
        self.network.train()

    def step(self, batch: Batch) -> Tensor:
        inputs, labels, lengths = self._on_device(batch)
        if self.bfloat16 is None:
            self.bfloat16 = self._bfloat16_is_faster(inputs, labels, lengths)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[self.steps]
        self.optimizer.zero_grad()
        loss = self._backward(self.network, inputs, labels, lengths, self.bfloat16)
        norm = nn.utils.clip_grad_norm_(self.learning, self.recipe.train.clip_norm)
        if not self.recipe.system.drop_overflow_update or norm.isfinite():
            self.optimizer.step()
        if self.recipe.train.average:
            self._average(averaging_share(self.steps, self.recipe.train.average))
        self.steps += 1
        return loss

    def _on_device(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        inputs, labels, lengths = (torch.from_numpy(array) for array in batch[:3])
        if self.trims:
            # No position attends to another one's output or beyond the length, so cutting changes nothing.
            longest = int(lengths.max())
            inputs, labels = inputs[:, :longest], labels[:, :longest]
        return inputs.to(self.device), labels.to(self.device, torch.int64), lengths.to(self.device)

    def _backward(
        self, network: ABINet, inputs: Tensor, labels: Tensor, lengths: Tensor, bfloat16: bool
    ) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            loss = self.loss(network, inputs, labels, lengths)
        loss.backward()
        return loss.detach()

    def _bfloat16_is_faster(self, inputs: Tensor, labels: Tensor, lengths: Tensor) -> bool:
        """Measures on a copy of the network, without using random numbers of the training."""
        few = inputs[:MEASURED_CROPS], labels[:MEASURED_CROPS], lengths[:MEASURED_CROPS]
        with torch.random.fork_rng(devices=[]):
            network = copy.deepcopy(self.network)

            def seconds(bfloat16: bool) -> float:
                began = time.perf_counter()
                self._backward(network, *few, bfloat16)
                return time.perf_counter() - began

            turns = [(seconds(False), seconds(True)) for _ in range(1 + MEASURED_TURNS)][1:]
        in_float32, in_bfloat16 = map(min, zip(*turns, strict=True))
        return in_bfloat16 < in_float32

    @torch.no_grad()
    def _average(self, share: float) -> None:
        current, averaged = self.network.state_dict().values(), self.averaged.state_dict().values()
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, share)

    @torch.inference_mode()
    def read(self, images: np.ndarray) -> list[np.ndarray]:
        self.averaged.eval()
        vision, language, fused = self.averaged(torch.from_numpy(images).to(self.device))
        self.averaged.train()
        refined = [
            logits for first, second in zip(language, fused, strict=True) for logits in (first.logits, second)
        ]
        return [logits.float().cpu().numpy() for logits in (vision.logits, *refined)]

    @torch.inference_mode()
    def spell(self, probabilities: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(probabilities).to(self.device), torch.from_numpy(lengths).to(self.device)
        self.averaged.eval()
        logits = self.averaged.language(*given).logits
        self.averaged.train()
        return logits.float().cpu().numpy()

    def read_with(self, parameters: Mapping[str, np.ndarray]) -> None:
        raise NotImplementedError("one process trains, and reads with its own weights")

    def parameters(self) -> dict[str, np.ndarray]:
        return from_official(_arrays(self.averaged))

    def load(self, parameters: Mapping[str, np.ndarray], source: str) -> None:
        state = _arrays(self.network)
        own = from_official(state)
        misshapen = [
            f"{name} is {parameters[name].shape} instead of {value.shape}"
            for name, value in own.items()
            if name in parameters and parameters[name].shape != value.shape
        ]
        check_names(parameters, own, misshapen, source)
        given = {name: torch.from_numpy(value) for name, value in to_official(parameters, state).items()}
        self.averaged.load_state_dict(given, strict=False)
        self.network.load_state_dict(given, strict=False)

    def state(self) -> dict[str, np.ndarray]:
        moments = self.optimizer.state_dict()["state"]
        arrays = {
            **{f"{part}.{name}": value for part, network in self._networks().items()
               for name, value in _arrays(network).items()},
            **{f"optimizer.{index}.{name}": value.cpu().numpy() for index, values in moments.items()
               for name, value in values.items()},
            "steps": np.array(self.steps),
            "bfloat16": np.array(bool(self.bfloat16)),
            "random": torch.get_rng_state().numpy(),
        }  # fmt: skip
        if self.device.type == "cuda":
            arrays["random_cuda"] = torch.cuda.get_rng_state().numpy()
        return arrays

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        for part, network in self._networks().items():
            own = _arrays(network)
            check_state(state, {f"{part}.{name}": value.shape for name, value in own.items()})
            network.load_state_dict({name: torch.from_numpy(state[f"{part}.{name}"]) for name in own})
        check_state(state, {"steps": (), "bfloat16": ()})
        moments: dict[int, dict[str, Tensor]] = {}
        for name in state:
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = torch.from_numpy(state[name])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.steps, self.bfloat16 = int(state["steps"]), bool(state["bfloat16"])
        torch.set_rng_state(torch.from_numpy(state["random"]))
        if self.device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(torch.from_numpy(state["random_cuda"]))

    def _networks(self) -> dict[str, ABINet]:
        """The network, and the average if there is one."""
        networks = {"network": self.network, "average": self.averaged}
        return networks if self.averaged is not self.network else {"network": self.network}


def _optimizer(
    wanted: Optimizer, learning: list[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    decayed = [p for p in learning if p.ndim > 1 or not wanted.filter_bias_and_bn]
    spared = [p for p in learning if p.ndim < 2 and wanted.filter_bias_and_bn]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    if wanted.opt == "sgd":
        return torch.optim.SGD(groups, learning_rate, wanted.momentum, nesterov=wanted.nesterov)
    kind = torch.optim.AdamW if wanted.opt == "adamw" else torch.optim.Adam
    return kind(groups, learning_rate, (wanted.beta1, wanted.beta2), fused=True)


def _arrays(network: ABINet) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
