"""``abinet train``: runs a recipe on rendered words."""

from __future__ import annotations

import argparse
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--config", type=Path, required=True, help="recipe (YAML), such as abinet_tiny_en.yaml"
    )
    parser.add_argument(
        "--fonts",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder of fonts to render with; default: fontconfig's",
    )
    parser.add_argument("--words", type=Path, help="word list with frequencies; default: wordfreq's English")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="DIR", help="checkpoints and curves"
    )


def run(args: argparse.Namespace) -> int:
    """Trains; returns the exit code."""
    import yaml

    from models.data.fonts import find_fonts
    from models.data.words import Split, WordSampler
    from models.training.train import Recipe, Trainer

    path = args.config if args.config.exists() else CONFIGS / args.config.name
    try:
        recipe = Recipe.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None

    def words(split: Split) -> WordSampler:
        return WordSampler.from_file(args.words, split) if args.words else WordSampler.from_wordfreq(split)

    trainer = Trainer(recipe, find_fonts(args.fonts), words, args.output)
    print(f"trained: {trainer.run(lambda line: print(line, flush=True))}")
    return 0
