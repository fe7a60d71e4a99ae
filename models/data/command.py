"""`abinet data`: makes training data."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from models.data.fonts import find_fonts
from models.data.sheet import contact_sheet
from models.data.synth import WordRenderer, write_folder
from models.data.words import WordSampler

SHEET_CROPS = 160
PROGRESS_SECONDS = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    render = commands.add_parser("render", help="render labelled word crops from fonts and words")
    render.add_argument("--count", type=_positive, required=True, metavar="N", help="how many crops")
    render.add_argument("--seed", type=int, default=0, help="crop k of a seed always has the same pixels")
    render.add_argument(
        "--split", choices=("train", "test"), default="train", help="test: unseen fonts and words"
    )
    render.add_argument(
        "--fonts", type=Path, action="append", metavar="DIR", help="default: fontconfig's fonts"
    )
    render.add_argument("--words", type=Path, metavar="FILE", help="word list; default: the wordfreq package")
    render.add_argument("--output", type=Path, required=True, metavar="DIR", help="PNG files and labels.tsv")
    render.add_argument(
        "--sheet", type=Path, metavar="PNG", help=f"contact sheet of the first {SHEET_CROPS} crops"
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    words = (
        WordSampler.from_file(args.words, args.split) if args.words else WordSampler.from_wordfreq(args.split)
    )
    renderer = WordRenderer(find_fonts(args.fonts), words, args.seed, args.split)
    started = shown = time.monotonic()
    for done in write_folder(renderer, args.count, args.output):
        now = time.monotonic()
        if now - shown > PROGRESS_SECONDS or done == args.count:
            shown = now
            print(
                f"\r{done}/{args.count} crops, {done / (now - started):.0f}/s",
                end="",
                file=sys.stderr,
                flush=True,
            )
    print(file=sys.stderr)
    if args.sheet:
        contact_sheet([renderer.render(index) for index in range(min(args.count, SHEET_CROPS))], args.sheet)
    return 0
