"""Learning rates over a stage by MindOCR's schedulers, with MindOCR's names, defaults and meaning."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

#: MindOCR takes both names.
_ALSO = {"warmup_cosine_decay": "cosine_decay"}


class Schedule(BaseModel):
    """The keys of MindOCR's section ``scheduler`` except ``lr`` and ``num_epochs``; source: its
    mindocr/scheduler/{scheduler_factory,dynamic_lr}.py.

    The rate rises over ``warmup_epochs`` from ``warmup_factor`` of itself; what follows counts its epochs
    from there. ``step_decay`` falls to ``decay_rate`` each ``decay_epochs``, ``multi_step_decay`` at each of
    ``milestones``, ``exponential_decay`` each epoch, ``polynomial_decay`` to 0 with the power
    ``decay_rate``; ``cosine_decay`` to ``min_lr`` within ``decay_epochs``, ``num_cycles`` times, each from
    ``cycle_decay`` of the cycle before. With ``lr_epoch_stair`` the rate changes at the beginning of an epoch
    only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheduler: Annotated[
        Literal[
            "constant",
            "cosine_decay",
            "step_decay",
            "exponential_decay",
            "polynomial_decay",
            "multi_step_decay",
        ],
        BeforeValidator(lambda value: _ALSO.get(value, value) if isinstance(value, str) else value),
    ] = "constant"
    min_lr: Annotated[float, Field(ge=0)] = 1e-6
    warmup_epochs: Annotated[float, Field(ge=0)] = 3
    warmup_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    decay_epochs: Annotated[float, Field(gt=0)] = 10
    decay_rate: Annotated[float, Field(gt=0)] = 0.9
    milestones: tuple[float, ...] = ()
    num_cycles: Annotated[int, Field(ge=1)] = 1
    cycle_decay: Annotated[float, Field(gt=0)] = 1.0
    lr_epoch_stair: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Schedule:
        if self.scheduler == "multi_step_decay" and not self.milestones:
            raise ValueError("multi_step_decay needs milestones, the epochs at which the rate falls")
        return self

    def rates(self, lr: float, epochs: float, steps: int) -> list[float]:
        """The rate of each of the ``steps`` steps of ``epochs`` epochs, no fewer than the warm-up's."""
        return [self._rate(lr, epochs, step * epochs / steps) for step in range(steps)]

    def _rate(self, lr: float, epochs: float, at: float) -> float:
        """The rate after ``at`` epochs."""
        if at < self.warmup_epochs:
            at = math.floor(at) if self.lr_epoch_stair else at
            return lr * (self.warmup_factor + at / self.warmup_epochs * (1 - self.warmup_factor))
        at -= self.warmup_epochs
        whole = math.floor(at)
        at = whole if self.lr_epoch_stair else at
        match self.scheduler:
            case "constant":
                return lr
            case "step_decay":
                return float(lr * self.decay_rate ** (whole // self.decay_epochs))
            case "multi_step_decay":
                return float(lr * self.decay_rate ** bisect_right(sorted(self.milestones), whole))
            case "exponential_decay":
                return float(lr * self.decay_rate**at)
            case "polynomial_decay":
                return float(lr * (1 - at / (epochs - self.warmup_epochs)) ** self.decay_rate)
        cycle = int(at // self.decay_epochs)
        if cycle >= self.num_cycles:
            return self.min_lr
        delta = 0.5 * (lr * self.cycle_decay**cycle - self.min_lr)
        turn = (at - cycle * self.decay_epochs) / self.decay_epochs
        return self.min_lr + delta * (1 + math.cos(math.pi * turn))
