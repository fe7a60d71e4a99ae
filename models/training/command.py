"""``abinet train``: runs a recipe, alone or as one of the processes that ``msrun`` starts."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.training.recipe import Recipe, Section

#: Exit code after Ctrl-C.
INTERRUPTED = 130
CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_data_options(parser)
    parser.add_argument(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="model.pretrained: weights to start from: NAME.ckpt, MindOCR's .ckpt or an official .pth",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="DIR",
        help="train.ckpt_save_dir: checkpoints and curves; a training stopped there goes on",
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options for the recipe, the framework and the data."""
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
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings do not help the user
    from models.training.ranks import Ranks, join
    from models.training.recipe import Recipe
    from models.training.stopping import Stopped, Stopping
    from models.training.train import Trainer

    recipe, said = Recipe.read(named(args.config))
    recipe = with_options(recipe, args)
    in_mindspore = recipe.system.framework == "mindspore"
    ranks = join() if recipe.system.distribute and in_mindspore else Ranks()
    report = _report if ranks.first else _silent
    for line in said:
        report(line)
    folder = args.output or recipe.train.ckpt_save_dir or Path("runs") / recipe.network
    # Several processes would stop at different steps; msrun ends them all, and they go on from a validation.
    stopping = Stopping()
    try:
        with nullcontext() if recipe.system.distribute else stopping:
            bar = sys.stderr.isatty()
            trainer = Trainer(recipe, folder, ranks=ranks, report=report, bar=bar, stopping=stopping)
            report(f"trained: {trainer.run()}")
    except Stopped as stopped:
        report(str(stopped))
        return INTERRUPTED
    except KeyboardInterrupt:
        report("stopped; the same command goes on from the last validation")
        return INTERRUPTED
    return 0


def named(config: Path) -> Path:
    """The recipe's file: as given, or by its name alone one of the project's.

    Raises:
        FileNotFoundError: neither.
    """
    bundled = CONFIGS / config.name
    if config.exists():
        return config
    if config == Path(config.name) and bundled.exists():
        return bundled
    names = ", ".join(sorted(path.name for path in CONFIGS.glob("*.yaml")))
    raise FileNotFoundError(2, f"No such recipe; by name alone there are {names}", str(config))


def with_options(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe with the command line's options instead of its own keys."""

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
    return changed(
        recipe,
        {
            "model": changed(recipe.model, {"pretrained": getattr(args, "pretrained", None)}),
            "train": changed(recipe.train, {"dataset": dataset}),
            "eval": changed(recipe.eval, {"dataset": validation}),
            "system": changed(recipe.system, {"framework": args.framework}),
        },
    )


def _report(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _silent(line: str) -> None:
    """Prints nothing: for the other processes, because the first one prints."""
