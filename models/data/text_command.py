"""`abinet data text`: counts the words of running text, for the language stage."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="UTF-8 text, plain or .gz: WikiText-103's wiki.train.tokens, the official code's .csv, or any",
    )
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE", help="word, tab, count; one a line"
    )


def run(args: argparse.Namespace) -> int:
    """Counts and writes; returns the exit code."""
    from tqdm import tqdm

    from models.data.running_text import count_words

    if not args.output.parent.is_dir():
        raise FileNotFoundError(2, "No such folder", str(args.output.parent))
    with tqdm(unit="character", unit_scale=True, disable=None) as bar:
        counts = count_words(args.files, bar.update)
    if not counts.words:
        raise ValueError(f"{', '.join(map(str, args.files))}: no word of 0-9 and a-z")
    partial = args.output.with_name(args.output.name + ".partial")
    partial.write_text(
        "".join(f"{word}\t{times}\n" for word, times in counts.words.items()), encoding="utf-8"
    )
    partial.replace(args.output)
    print(
        f"{args.output}: {counts.total} words, {len(counts.words)} different; left out: {counts.empty}"
        f" without a letter or digit, {counts.too_long} longer than 25, {counts.unknown} <unk>"
    )
    return 0
