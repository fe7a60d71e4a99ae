"""What a configuration file says: the network, the data, the stages and where the results go."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models.abinet import NETWORKS, NetworkConfig
from models.data.words import MAX_LENGTH

WARM_UP = 200

Several = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)


class Section(BaseModel):
    """A part of the file; a key that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class System(Section):
    """How the training runs on its machine.

    ``distribute``: data-parallel over the processes that ``msrun`` started. ``amp_level``: O0, float32, as
    the published network was trained; no other. ``drop_overflow_update``: a step whose gradients are
    not finite changes nothing.
    """

    seed: int
    distribute: bool = False
    amp_level: Literal["O0"] = "O0"
    val_while_train: bool = True
    drop_overflow_update: bool = False


class Dataset(Section):
    """Where crops come from: sets stored below ``dataset_root``/``data_dir``, or, without a root, the word
    renderer with ``fonts`` and ``photographs`` (folders) and ``words`` (a list), all optional.

    ``augment`` switches the method's augmentation on, ``limit`` takes the first crops only, ``num_workers``
    processes prepare batches.
    """

    dataset_root: Path | None = None
    data_dir: Annotated[tuple[str, ...], Several] = (".",)
    fonts: Annotated[tuple[Path, ...], Several] = ()
    photographs: Annotated[tuple[Path, ...], Several] = ()
    words: Path | None = None
    augment: bool = False
    limit: Annotated[int, Field(ge=1)] | None = None
    num_workers: Annotated[int, Field(ge=1)] = 1

    @property
    def roots(self) -> list[Path]:
        """The folders to search for stored sets; none means rendering."""
        return [self.dataset_root / part for part in self.data_dir] if self.dataset_root else []


class Stage(Section):
    """One stage: so many ``steps``, or ``epochs`` of the stored sets.

    The learning rate warms up over 200 steps, then falls along a cosine to 1 %, or, where ``decay_epochs`` or
    ``decay_steps`` is given, to ``decay_rate`` of itself each time that so much has passed. ``batch_size`` is
    that of one process. ``plain`` is the share of easy rendered crops, whose words have at most ``longest``
    characters. Self-training labels the images of ``unlabelled`` anew every ``refresh`` steps, keeps what it
    is at least ``certainty`` sure of, and fills ``share`` of each batch with it.
    """

    stage: Literal["language", "vision", "joint", "self_training"]
    lr: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    decay_epochs: Annotated[float, Field(gt=0)] | None = None
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    plain: Annotated[float, Field(ge=0, le=1)] = 0.0
    longest: Annotated[int, Field(ge=1)] = MAX_LENGTH
    unlabelled: Dataset | None = None
    certainty: Annotated[float, Field(ge=0, le=1)] = 0.9
    refresh: Annotated[int, Field(ge=1)] = 2000
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _consistent(self) -> Stage:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("needs either steps or epochs")
        if self.decay_epochs and not self.epochs:
            raise ValueError("decay_epochs needs epochs; with steps, say decay_steps")
        if self.stage == "self_training" and not (self.unlabelled and self.unlabelled.roots):
            raise ValueError("self_training needs unlabelled.dataset_root")
        return self

    def learning_rates(self, steps: int) -> list[float]:
        """The rate of each of the stage's ``steps`` steps."""
        warm_up = min(WARM_UP, steps // 10 + 1)
        decay = self.decay_steps
        if self.epochs and self.decay_epochs:
            decay = round(steps * self.decay_epochs / self.epochs)

        def decayed(step: int) -> float:
            if decay:
                return float(self.decay_rate ** (step // decay))
            return 0.505 + 0.495 * math.cos(math.pi * step / max(1, steps - 1))

        return [self.lr * min(1.0, (step + 1) / warm_up) * decayed(step) for step in range(steps)]


class Common(Section):
    batch_size: Annotated[int, Field(ge=1)]


class Train(Section):
    """``log_interval`` and ``val_interval`` count steps. Each validation also saves: a killed training
    loses no more than that."""

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    ckpt_save_dir: Path | None = None
    dataset: Dataset = Dataset()
    clip_norm: Annotated[float, Field(gt=0)] = 20.0
    log_interval: Annotated[int, Field(ge=1)] = 100
    val_interval: Annotated[int, Field(ge=1)] = 1000


class Eval(Section):
    """What ``val_while_train`` and ``abinet eval --config`` read; without a root, the former renders crops of
    unseen fonts and words."""

    ckpt_load_path: Path | None = None
    dataset: Dataset = Dataset()


class Recipe(Section):
    """A configuration file, read and checked; its keys are the field's where the field has a key."""

    network: str
    system: System
    common: Common
    train: Train
    eval: Eval = Eval()

    @model_validator(mode="before")
    @classmethod
    def _common_batch_size(cls, values: Any) -> Any:
        """Stages take the common batch size where they name none."""
        match values:
            case {"common": {"batch_size": size}, "train": {"stages": [*stages]}}:
                stages = [{"batch_size": size, **s} if isinstance(s, dict) else s for s in stages]
                return {**values, "train": {**values["train"], "stages": stages}}
        return values

    @model_validator(mode="after")
    def _known_network(self) -> Recipe:
        if self.network not in NETWORKS:
            raise ValueError(f"unknown network {self.network!r}; known: {', '.join(NETWORKS)}")
        return self

    @property
    def sizes(self) -> NetworkConfig:
        """The network's sizes."""
        return NETWORKS[self.network]

    @classmethod
    def from_yaml(cls, path: Path) -> Recipe:
        """Raises ValueError (one line: the file and its faults), OSError."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'the recipe'}: {fault['msg']}"
                for fault in error.errors()
            )
            raise ValueError(f"{path}: {faults}") from None
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
