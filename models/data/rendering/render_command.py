"""`abinet data render`: word crops drawn from fonts and words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from models.data.arguments import positive
from models.data.rendering.fonts import find_fonts
from models.data.rendering.photographs import find_photographs
from models.data.rendering.renderer import WordRenderer, encode_png, write_folder
from models.data.rendering.words import WordSampler
from models.data.sets.labels import label_file_in
from models.data.sets.lmdb import LmdbWriter, is_lmdb
from models.data.sets.sheet import check_sheet, contact_sheet

SHEET_CROPS = 160


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=positive, required=True, metavar="N", help="how many crops")
    parser.add_argument("--seed", type=int, default=0, help="crop k of a seed always has the same pixels")
    parser.add_argument(
        "--split", choices=("train", "test"), default="train", help="test: unseen fonts and words"
    )
    parser.add_argument(
        "--fonts", type=Path, action="append", metavar="DIR", help="default: fontconfig's fonts"
    )
    parser.add_argument(
        "--photographs",
        type=Path,
        action="append",
        metavar="DIR",
        help="pictures to draw on; default: those of Debian's wallpaper packages",
    )
    parser.add_argument("--words", type=Path, metavar="FILE", help="word list; default: the wordfreq package")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--format",
        choices=("folder", "lmdb"),
        default="folder",
        help="folder: PNG files and labels.tsv; lmdb: one LMDB set",
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help=f"contact sheet of the first {SHEET_CROPS} crops"
    )


def run(args: argparse.Namespace) -> int:
    check_sheet(args.sheet)
    _refuse_a_set(args.output)
    print("abinet: looking at the fonts", file=sys.stderr)
    words = (
        WordSampler.from_file(args.words, args.split) if args.words else WordSampler.from_wordfreq(args.split)
    )
    photographs = find_photographs(args.photographs)
    fonts = find_fonts(args.fonts)
    renderer = WordRenderer(fonts, words, args.seed, args.split, photographs)
    write = write_lmdb if args.format == "lmdb" else write_folder
    # Without a terminal there is no bar.
    for _ in tqdm(write(renderer, args.count, args.output), total=args.count, unit=" crops", disable=None):
        pass
    if args.sheet:
        contact_sheet([renderer.render(index) for index in range(min(args.count, SHEET_CROPS))], args.sheet)
    sheet = f", and {args.sheet} to look at" if args.sheet else ""
    print(f"{args.output}: {args.count:,} crops from {len(fonts):,} fonts{sheet}")
    return 0


def _refuse_a_set(folder: Path) -> None:
    """Raises ValueError if crops would be written over those of another set."""
    if is_lmdb(folder) or label_file_in(folder):
        raise ValueError(f"{folder}: holds a set already; remove it or choose another name")


def write_lmdb(renderer: WordRenderer, count: int, folder: Path) -> Iterator[int]:
    """Writes crops 0..count-1 as PNG into one LMDB set; yields how many are done.

    Raises: ValueError if the folder exists, OSError if it cannot be written.
    """
    with LmdbWriter(folder) as writer:
        for index in range(count):
            crop = renderer.render(index)
            writer.write(encode_png(crop.image), crop.label)
            yield index + 1
