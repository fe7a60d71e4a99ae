"""`abinet data pack`: labelled images as one LMDB in the layout of the field."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from models.data.sets.folders import LabelledSet, open_set
from models.data.sets.lmdb import LmdbWriter
from models.data.sets.samples import Reason, UnusableSample, decode_crop, fold_label


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="a folder with a label file, such a file, or an LMDB",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="LMDB", help="the folder to write")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")


def run(args: argparse.Namespace) -> int:
    packed = pack([open_set(source) for source in args.sources], args.output)
    if args.json:
        print(json.dumps({"output": str(args.output), "written": packed.written, "skipped": packed.skipped}))
    else:
        print(f"{args.output}: {packed.written} samples" + skipped_text(packed.skipped))
    return 0


class Packed(NamedTuple):
    """How many samples were written, and how many were skipped for each reason."""

    written: int
    skipped: Counter[Reason]


def pack(sources: Sequence[LabelledSet], folder: Path) -> Packed:
    """Writes the usable samples of all sources as one LMDB, images and texts as they are stored.

    Raises: ValueError if no sample is usable or the folder exists; then nothing is written.
    """
    skipped: Counter[Reason] = Counter()
    written = 0
    with LmdbWriter(folder) as writer:
        for source, index in _samples(sources):
            try:
                image, text = source.read(index)
                decode_crop(image)
                fold_label(text)
            except UnusableSample as unusable:
                skipped[unusable.reason] += 1
                continue
            writer.write(image, text)
            written += 1
        if not written:
            raise ValueError(f"{folder}: not written, no sample is usable{skipped_text(skipped)}")
    return Packed(written, skipped)


def skipped_text(skipped: Counter[Reason]) -> str:
    """`; skipped 2: 1 no label, 1 broken image`, or nothing if nothing was skipped."""
    if not skipped:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.most_common())
    return f"; skipped {skipped.total()}: {reasons}"


def _samples(sources: Sequence[LabelledSet]) -> Iterator[tuple[LabelledSet, int]]:
    # Without a terminal there is no bar.
    with tqdm(total=sum(map(len, sources)), unit=" samples", disable=None) as bar:
        for source in sources:
            for index in range(len(source)):
                yield source, index
                bar.update()
