"""``abinet train``: runs a recipe, alone or as one of the processes that ``msrun`` starts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.training.recipe import Recipe, Section

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_data_options(parser)
    parser.add_argument("--init", type=Path, metavar="NAME.ckpt", help="train.init: weights to start from")
    parser.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="DIR",
        help="train.ckpt_save_dir: checkpoints and curves; a training stopped there goes on",
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The recipe, what computes, and from what data."""
    names = ", ".join(sorted(path.name for path in CONFIGS.glob("*.yaml")))
    parser.add_argument("--config", type=Path, required=True, help=f"recipe: a YAML file, or one of {names}")
    parser.add_argument(
        "--framework",
        choices=("mindspore", "torch"),
        help="system.framework: what computes the step; PyTorch is the extra `torch`",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="train.dataset.dataset_root: stored sets to train on; and to validate on, if eval has the same",
    )
    parser.add_argument(
        "--fonts",
        type=Path,
        action="append",
        metavar="DIR",
        help="train.dataset.fonts: fonts to render with; default: fontconfig's",
    )
    parser.add_argument(
        "--words", type=Path, help="train.dataset.words: word list; default: wordfreq's English"
    )


def run(args: argparse.Namespace) -> int:
    """Trains; returns the exit code."""
    from models.training.recipe import Recipe
    from models.training.train import Trainer

    recipe = with_options(Recipe.from_yaml(named(args.config)), args)
    in_mindspore = recipe.system.framework == "mindspore"
    rank, ranks = _join_the_others() if recipe.system.distribute and in_mindspore else (0, 1)
    folder = args.output or recipe.train.ckpt_save_dir or Path("runs") / recipe.network
    trainer = Trainer(recipe, folder, rank=rank, ranks=ranks, report=_report, bar=sys.stderr.isatty())
    print(f"trained: {trainer.run()}")
    return 0


def named(config: Path) -> Path:
    """The recipe's file: as given, or one of the project's of this name."""
    return config if config.exists() else CONFIGS / config.name


def with_options(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe with what the command line says in place of its own keys."""

    def changed(section: Section, given: dict[str, Any]) -> Any:
        return section.model_copy(update={key: value for key, value in given.items() if value})

    before, validation = recipe.train.dataset, recipe.eval.dataset
    dataset = changed(before, {"fonts": tuple(args.fonts or ()), "words": args.words})
    if args.data:
        # A folder that is named must be there.
        named_root = {"dataset_root": args.data, "without": None}
        if validation.dataset_root == before.dataset_root:
            validation = validation.model_copy(update=named_root)
        dataset = dataset.model_copy(update=named_root)
    train = changed(recipe.train, {"dataset": dataset, "init": getattr(args, "init", None)})
    return changed(
        recipe,
        {
            "train": train,
            "eval": changed(recipe.eval, {"dataset": validation}),
            "system": changed(recipe.system, {"framework": args.framework}),
        },
    )


def _join_the_others() -> tuple[int, int]:
    """This process's rank and the number of processes. Raises ValueError where msrun has not started it."""
    import os

    import mindspore as ms
    from mindspore import communication

    if "MS_ROLE" not in os.environ and "RANK_ID" not in os.environ:
        raise ValueError(
            "system.distribute is true, so start the training with msrun: msrun --worker_num=N"
            " --local_worker_num=N $(which abinet) train ...; or set it to false"
        )
    ms.set_context(mode=ms.GRAPH_MODE)
    communication.init("mccl" if ms.get_context("device_target") == "CPU" else None)
    rank, ranks = communication.get_rank(), communication.get_group_size()
    ms.set_auto_parallel_context(
        parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=ranks
    )
    return rank, ranks


def _report(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()
