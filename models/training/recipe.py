"""What a configuration file says: the network, the data, the stages and where the results go."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models.abinet import NETWORKS, NetworkConfig
from models.charset import MAX_LENGTH

WARM_UP = 200

Several = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)

#: Which crops something is done to; true means all, false none.
Crops = Annotated[
    Literal["none", "stored", "all"],
    BeforeValidator(lambda value: {True: "all", False: "none"}[value] if isinstance(value, bool) else value),
]


class Section(BaseModel):
    """A part of the file; a key that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class System(Section):
    """How the training runs on its machine.

    ``framework`` computes the step. ``distribute``: data-parallel over the processes that ``msrun`` started
    (MindSpore only). ``amp_level``: O0, float32, as the published network was trained; O1, bfloat16 where it
    does no harm (PyTorch only); ``auto``, what is faster of the two. ``drop_overflow_update``: a step whose
    gradients are not finite changes nothing.
    """

    seed: int
    framework: Literal["mindspore", "torch"] = "mindspore"
    distribute: bool = False
    amp_level: Literal["O0", "O1", "auto"] = "auto"
    val_while_train: bool = True
    drop_overflow_update: bool = False


class Dataset(Section):
    """Where crops come from: sets stored below ``dataset_root``/``data_dir``, and the word renderer with
    ``fonts`` and ``photographs`` (folders) and ``words`` (a list), all optional. ``rendered`` is the share of
    each batch that is rendered: all of it without a root, and none of it by default with one.

    ``augment`` switches the method's augmentation on and ``reframe`` the framing of loose and tight crops,
    each for the stored crops or for all. ``limit`` takes the first stored crops only, ``num_workers``
    processes prepare batches. ``without`` allows the root to be missing and says what the training is worth
    then.
    """

    dataset_root: Path | None = None
    data_dir: Annotated[tuple[str, ...], Several] = (".",)
    rendered: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fonts: Annotated[tuple[Path, ...], Several] = ()
    photographs: Annotated[tuple[Path, ...], Several] = ()
    words: Path | None = None
    augment: Crops = "none"
    reframe: Crops = "none"
    limit: Annotated[int, Field(ge=1)] | None = None
    num_workers: Annotated[int, Field(ge=1)] | None = None
    without: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Dataset:
        if self.dataset_root is None and (self.rendered or self.without):
            raise ValueError("rendered and without need dataset_root; without one all crops are rendered")
        return self

    @property
    def roots(self) -> list[Path]:
        """The folders to search for stored sets; none means rendering."""
        if self.dataset_root is None or self.is_missing:
            return []
        return [self.dataset_root / part for part in self.data_dir]

    @property
    def is_missing(self) -> bool:
        """Whether there is nothing where the stored sets should be, and the recipe allows it."""
        return self.without is not None and self.dataset_root is not None and not self.dataset_root.exists()


class Stage(Section):
    """One stage: so many ``steps``, or ``epochs`` of the stored sets.

    The learning rate warms up over 200 steps, stays for the share ``constant`` of the stage, then falls
    along a cosine to 1 %, or, where ``decay_epochs`` or ``decay_steps`` is given, to ``decay_rate`` of
    itself each time that so much has passed. ``batch_size`` is that of one process. ``plain`` is the share
    of easy rendered crops, whose words have at most ``longest`` characters. ``misreadings``: what the
    language stage's words are misread like, a file of ``abinet misreadings``; by default the bundled one.
    Self-training labels the images of ``unlabelled`` anew every ``refresh`` steps, keeps what it is at
    least ``certainty`` sure of, and fills ``share`` of each batch with it.
    """

    stage: Literal["language", "vision", "joint", "self_training"]
    lr: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    constant: Annotated[float, Field(ge=0, le=1)] = 0.0
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    decay_epochs: Annotated[float, Field(gt=0)] | None = None
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    plain: Annotated[float, Field(ge=0, le=1)] = 0.0
    longest: Annotated[int, Field(ge=1)] = MAX_LENGTH
    misreadings: Path | None = None
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
        if self.constant and (self.decay_epochs or self.decay_steps):
            raise ValueError("constant goes with the cosine, not with decay_epochs or decay_steps")
        if self.stage == "self_training" and not (self.unlabelled and self.unlabelled.roots):
            raise ValueError("self_training needs unlabelled.dataset_root")
        return self

    def learning_rates(self, steps: int) -> list[float]:
        """The rate of each of the stage's ``steps`` steps."""
        warm_up = min(WARM_UP, steps // 10 + 1)
        decay = self.decay_steps
        if self.epochs and self.decay_epochs:
            decay = round(steps * self.decay_epochs / self.epochs)

        held = self.constant * (steps - 1)

        def decayed(step: int) -> float:
            if decay:
                return float(self.decay_rate ** (step // decay))
            falling = max(0.0, step - held) / max(1.0, steps - 1 - held)
            return 0.505 + 0.495 * math.cos(math.pi * falling)

        return [self.lr * min(1.0, (step + 1) / warm_up) * decayed(step) for step in range(steps)]


class Common(Section):
    batch_size: Annotated[int, Field(ge=1)]


class Train(Section):
    """``log_interval`` and ``val_interval`` count steps. Each validation also saves: a killed training
    loses no more than that.

    ``init``: the checkpoint whose weights the first stage starts from, or one each for some of vision,
    language and alignment. ``average``: the decay, a step, of the weights' moving average, which is then
    what is validated and saved. ``weight_decay`` is AdamW's, of matrices and kernels.
    """

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    init: Path | dict[Literal["vision", "language", "alignment"], Path] | None = None
    ckpt_save_dir: Path | None = None
    dataset: Dataset = Dataset()
    clip_norm: Annotated[float, Field(gt=0)] = 20.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
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
