"""The content of a configuration file: the network, the data, the stages and the place for results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models.abinet import NETWORKS, NetworkConfig
from models.charset import MAX_LENGTH
from models.data.sets.folders import LabelTable, SetPath
from models.training import mindocr
from models.training.schedules import Schedule

BATCH_KEYS = {"batch_size", "global_batch_size"}

Several = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)

#: The crops that are changed; true means all, false none.
Crops = Annotated[
    Literal["none", "stored", "all"],
    BeforeValidator(lambda value: {True: "all", False: "none"}[value] if isinstance(value, bool) else value),
]


class Section(BaseModel):
    """A section of the file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Section)


class System(Section):
    """How the training runs on its machine.

    ``framework`` computes the step. ``distribute``: data-parallel over the processes that ``msrun`` started
    (MindSpore only). ``amp_level``: O0, float32, as the published network was trained; O1, bfloat16 where it
    does no harm (PyTorch only); ``auto``, the faster of the two. ``drop_overflow_update``: a step whose
    gradients are not finite changes nothing.
    """

    seed: int
    framework: Literal["mindspore", "torch"] = "mindspore"
    distribute: bool = False
    amp_level: Literal["O0", "O1", "O2", "O3", "auto"] = "auto"
    val_while_train: bool = True
    drop_overflow_update: bool = False


Weights = Path | dict[Literal["vision", "language", "alignment"], Path]


class Model(Section):
    """``pretrained``: the weights that the first stage starts from, in one file or a file each for some of
    the three models: native, MindOCR's .ckpt or the official .pth. ``shrink_by_area``: whether large crops
    are shrunk by area (see :mod:`service.bundle_format.preprocessing`); neither reference does.
    """

    pretrained: Weights | None = None
    shrink_by_area: bool = True


class Dataset(Section):
    """Where crops come from: sets stored below ``dataset_root``/``data_dir``, and the word renderer with
    ``fonts`` and ``photographs`` (folders) and ``words`` (a list), all optional. With ``label_file`` the sets
    are these tables below the root, one for each ``data_dir``, which holds its images. ``rendered`` is the
    share of each batch that is rendered: all of it if there is no root; if there is one, the default is none.

    ``fonts_made_with`` is the number of fonts that the recipe was made with, printed beside the number found.
    ``augment`` switches the paper's augmentation on and ``reframe`` the framing of loose and tight crops,
    each for the stored crops or for all. ``limit`` takes the first stored crops only, ``num_workers``
    processes prepare batches. ``without`` allows the root to be missing and says what to expect of the
    training then.
    """

    dataset_root: Path | None = None
    data_dir: Annotated[tuple[str, ...], Several] = (".",)
    label_file: Annotated[tuple[str, ...], Several] = ()
    rendered: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fonts: Annotated[tuple[Path, ...], Several] = ()
    fonts_made_with: Annotated[int, Field(ge=1)] | None = None
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
        if self.label_file and self.dataset_root is None:
            raise ValueError("label_file needs dataset_root, below which it lies")
        if self.label_file and len(self.data_dir) not in (1, len(self.label_file)):
            raise ValueError(
                f"label_file names {len(self.label_file)} tables and data_dir {len(self.data_dir)} folders of"
                " images; name one folder, or one for each table"
            )
        return self

    @property
    def roots(self) -> list[SetPath]:
        """The folders to search for stored sets, or the tables of labels; none means rendering."""
        if self.dataset_root is None or self.is_missing:
            return []
        folders = [self.dataset_root / part for part in self.data_dir]
        if not self.label_file:
            return list(folders)
        tables = [self.dataset_root / name for name in self.label_file]
        if len(folders) < len(tables):
            folders *= len(tables)
        return [LabelTable(*pair) for pair in zip(tables, folders, strict=True)]

    @property
    def is_missing(self) -> bool:
        """Whether the stored sets are missing and the recipe allows it."""
        return self.without is not None and self.dataset_root is not None and not self.dataset_root.exists()


class Stage(Section):
    """One stage, of ``steps``, or of ``epochs`` of the stored sets.

    The learning rate warms up over ``warm_up`` steps (or ``warm_up_epochs``), stays for the share
    ``constant`` of the stage, then falls along a cosine to 1 %, or, if ``decay_epochs`` or ``decay_steps`` is
    given, to ``decay_rate`` of itself after each such period. Instead of all this, ``scheduler`` may hold
    MindOCR's section of that name. ``batch_size`` is that of one process, ``global_batch_size`` that of all
    together: see :meth:`on`. ``pretrained``: weights to start from instead of the previous stage's, as in
    :class:`Model`. ``plain`` is the share of easy rendered crops, whose words have at most ``longest``
    characters.

    The language stage draws its words from ``text``, a file of ``abinet data text``, or from the recipe's
    word list; ``running_text`` of them as often as they are written, the others as often as on signs;
    ``clean`` of them are one-hot characters, the others misread as in the file ``misreadings``, one of
    ``abinet misreadings``, by default the bundled one. An epoch has as many words as the text.

    Self-training labels the images of ``unlabelled`` again every ``refresh`` steps, keeps labels of at least
    ``certainty``, and fills ``share`` of each batch with them.
    """

    stage: Literal["language", "vision", "joint", "self_training"]
    lr: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=1)] | None = None
    global_batch_size: Annotated[int, Field(ge=1)] | None = None
    pretrained: Weights | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    warm_up: Annotated[int, Field(ge=0)] = 200
    warm_up_epochs: Annotated[float, Field(gt=0)] | None = None
    constant: Annotated[float, Field(ge=0, le=1)] = 0.0
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    decay_epochs: Annotated[float, Field(gt=0)] | None = None
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    scheduler: Schedule | None = None
    plain: Annotated[float, Field(ge=0, le=1)] = 0.0
    longest: Annotated[int, Field(ge=1)] = MAX_LENGTH
    text: Path | None = None
    running_text: Annotated[float, Field(ge=0, le=1)] = 0.5
    clean: Annotated[float, Field(ge=0, le=1)] = 0.3
    misreadings: Path | None = None
    unlabelled: Dataset | None = None
    certainty: Annotated[float, Field(ge=0, le=1)] = 0.9
    refresh: Annotated[int, Field(ge=1)] = 2000
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _consistent(self) -> Stage:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("needs either steps or epochs")
        if not self.batch_size and not self.global_batch_size:
            raise ValueError("needs batch_size or global_batch_size, its own or those of common")
        if self.decay_epochs and not self.epochs:
            raise ValueError("decay_epochs needs epochs; with steps, say decay_steps")
        if self.constant and (self.decay_epochs or self.decay_steps):
            raise ValueError("constant goes with the cosine, not with decay_epochs or decay_steps")
        if self.scheduler and not self.epochs:
            raise ValueError("scheduler counts epochs, so the stage needs epochs too")
        if self.scheduler and self.epochs and self.scheduler.warmup_epochs > self.epochs:
            raise ValueError(f"scheduler: warmup_epochs is more than the stage's {self.epochs:g} epochs")
        if self.stage == "self_training" and not (self.unlabelled and self.unlabelled.roots):
            raise ValueError("self_training needs unlabelled.dataset_root")
        return self

    @property
    def crops(self) -> int:
        """The batch of one process, in a stage that :meth:`on` has fitted to the processes."""
        assert self.batch_size
        return self.batch_size

    def on(self, ranks: int) -> Stage:
        """The stage for this number of processes. ``global_batch_size`` alone is divided among them. If
        ``batch_size`` is given too and makes another global batch, the learning rate, which is for
        ``global_batch_size``, is scaled with it.

        Raises:
            ValueError: the global batch cannot be divided.
        """
        wanted = self.global_batch_size
        if wanted is None:
            return self
        if self.batch_size:
            return self.model_copy(update={"lr": self.lr * self.batch_size * ranks / wanted})
        if wanted % ranks:
            raise ValueError(
                f"stage {self.stage}: global_batch_size {wanted} cannot be shared among {ranks} processes;"
                f" start a number of them that divides it"
            )
        return self.model_copy(update={"batch_size": wanted // ranks})

    def learning_rates(self, steps: int) -> list[float]:
        """The rate of each of the stage's ``steps`` steps."""
        if self.scheduler and self.epochs:
            return self.scheduler.rates(self.lr, self.epochs, steps)
        warm_up = max(1, min(self.warm_up, steps // 10 + 1))
        if self.epochs and self.warm_up_epochs:
            warm_up = max(1, round(steps * self.warm_up_epochs / self.epochs))
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
    """The batch of stages that name none of their own."""

    batch_size: Annotated[int, Field(ge=1)] | None = None
    global_batch_size: Annotated[int, Field(ge=1)] | None = None


class Optimizer(Section):
    """How gradients become steps, under MindOCR's names: ``adamw`` shrinks weights beside the step
    (Loshchilov & Hutter 2019), ``adam`` and ``sgd`` (with ``momentum``, and ``nesterov``) add them to the
    clipped gradients, each by ``train.weight_decay``: of matrices and kernels alone, as
    ``filter_bias_and_bn`` says, or of all."""

    opt: Literal["adam", "adamw", "sgd"] = "adamw"
    beta1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    filter_bias_and_bn: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Optimizer:
        if self.nesterov and self.opt != "sgd":
            raise ValueError(f"nesterov goes with sgd, not with {self.opt}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum")
        return self


class Train(Section):
    """``log_interval`` and ``val_interval`` count steps; ``val_epochs``, if given, replaces the latter in
    stages that count epochs. Each validation also saves: a killed training loses no more than that.

    ``average``: the decay for each step of the weights' moving average, which is then validated and saved.
    ``weight_decay`` is the optimizer's. ``clip_norm``: the largest norm of all gradients together, infinite
    if they are not clipped.
    """

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    ckpt_save_dir: Path | None = None
    dataset: Dataset = Dataset()
    clip_norm: Annotated[float, Field(gt=0)] = 20.0
    optimizer: Optimizer = Optimizer()
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    log_interval: Annotated[int, Field(ge=1)] = 100
    val_interval: Annotated[int, Field(ge=1)] = 1000
    val_epochs: Annotated[float, Field(gt=0)] | None = None


class Eval(Section):
    """The crops for ``val_while_train`` and ``abinet eval --config``; without a root, the former renders
    crops of unseen fonts and words. ``val_sets``: the names of the sets that the former reads; by default
    all. ``batch_size``: of the validation.
    """

    ckpt_load_path: Path | None = None
    val_sets: Annotated[tuple[str, ...], Several] = ()
    batch_size: Annotated[int, Field(ge=1)] = 64
    dataset: Dataset = Dataset()

    @classmethod
    def from_yaml(cls, path: Path) -> Eval:
        """The section of a recipe, which may be MindOCR's: keys that only it has are ignored.

        Raises:
            ValueError: one line, the file and its faults.
            OSError: it cannot be read.
        """
        match values := _load(path):
            case {"eval": {"dataset": dict(dataset), **section}}:
                if mindocr.is_mindocr(values):
                    dataset = mindocr.dataset(dataset)
                known = {**_known(cls, section), "dataset": _known(Dataset, dataset)}
                return _valid(cls, path, known)
        return cls()


class Recipe(Section):
    """A configuration file, read and checked; its keys have the field's names, if there are any."""

    network: str
    model: Model = Model()
    system: System
    common: Common
    train: Train
    eval: Eval = Eval()

    @model_validator(mode="before")
    @classmethod
    def _common_batch_size(cls, values: Any) -> Any:
        """Stages take the common batch if they name none."""
        match values:
            case {"common": dict(common), "train": {"stages": [*stages]}}:
                batch = {key: common[key] for key in BATCH_KEYS if common.get(key)}
                stages = [
                    {**batch, **stage} if isinstance(stage, dict) and not BATCH_KEYS & {*stage} else stage
                    for stage in stages
                ]
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
        """Reads a file. Raises ValueError (one line: the file and its faults), OSError."""
        return cls.read(path)[0]

    @classmethod
    def read(cls, path: Path) -> tuple[Recipe, list[str]]:
        """The recipe of a file, this project's or MindOCR's, and lines to print about the latter.

        Raises:
            ValueError: one line, the file and its faults.
            OSError: it cannot be read.
        """
        values, said = _load(path), list[str]()
        try:
            if mindocr.is_mindocr(values):
                values, said = mindocr.translated(values, path)
        except mindocr.NotHonouredError as error:
            raise ValueError(f"{path}: {error}") from None
        return _valid(cls, path, values), said


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from None


def _known(section: type[Section], values: dict[Any, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in section.model_fields}


def _valid(section: type[S], path: Path, values: Any) -> S:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the recipe'}: {fault['msg']}" for fault in error.errors()
        )
        raise ValueError(f"{path}: {faults}") from None
