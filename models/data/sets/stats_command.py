"""`abinet data stats`: what labelled sets hold."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from models.data.arguments import positive
from models.data.sets.folders import LabelledSet, SetPath, find_sets, open_set
from models.data.sets.pack_command import skipped_text
from models.data.sets.samples import Image, UnusableSample
from models.data.sets.sheet import check_sheet, contact_sheet
from models.data.sets.stats import SetStats, measure

SHEET_CROPS = 160
SEED = 0
BARS = " ▁▂▃▄▅▆▇█"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="a set (LMDB or label file), or folders of sets"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only N samples of each set, drawn always the same"
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="PNG",
        help=f"contact sheet of {SHEET_CROPS} samples drawn from all sets",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    check_sheet(args.sheet)
    paths = find_sets(args.paths)
    sets = [open_set(path) for path in paths]
    drawn = [_draw(len(labelled), args.limit) for labelled in sets]
    with tqdm(total=sum(map(len, drawn)), unit=" samples", disable=None) as bar:  # none without a terminal
        measured = [
            measure(labelled, indices, bar.update) for labelled, indices in zip(sets, drawn, strict=True)
        ]
    if args.json:
        entries = zip(paths, measured, strict=True)
        print(json.dumps([{"path": str(path), **stats.to_json()} for path, stats in entries], indent=2))
    else:
        print("\n".join(_text(path, stats) for path, stats in zip(paths, measured, strict=True)))
    if args.sheet:
        write_sheet(sets, args.sheet)
    return 0


def write_sheet(sets: Sequence[LabelledSet], path: Path) -> None:
    """Writes a contact sheet of usable samples drawn from all sets together, always the same.

    Raises: ValueError if no sample is usable, OSError if the file cannot be written.
    """
    crops = [crop for crop, _ in zip(_usable_crops(sets), range(SHEET_CROPS), strict=False)]
    if not crops:
        raise ValueError(f"{path}: not written, no sample is usable")
    contact_sheet(crops, path)


def _draw(count: int, limit: int | None) -> Sequence[int]:
    if limit is None or count <= limit:
        return range(count)
    return sorted(random.Random(SEED).sample(range(count), limit))


def _usable_crops(sets: Sequence[LabelledSet]) -> Iterator[tuple[Image, str]]:
    total = sum(map(len, sets))
    # Unusable samples leave gaps; a set in which most are has a smaller sheet.
    for position in random.Random(SEED).sample(range(total), min(total, 4 * SHEET_CROPS)):
        index, rest = position, iter(sets)
        labelled = next(rest)
        while index >= len(labelled):
            index -= len(labelled)
            labelled = next(rest)
        try:
            yield labelled.crop(index)
        except UnusableSample:
            continue


def _text(path: SetPath, stats: SetStats) -> str:
    read = "" if stats.read == stats.samples else f", {stats.read} of them read"
    lines = [f"{path}: {stats.samples} samples{read}, {stats.usable} usable{skipped_text(stats.skipped)}"]
    if stats.usable:
        formats = ", ".join(f"{count} {name}" for name, count in stats.formats.most_common())
        width, height = ("/".join(str(value) for value in side) for side in (stats.width, stats.height))
        lines += [
            f"  label lengths  {_histogram(stats.lengths)}",
            f"  never seen     {''.join(stats.never_seen) or 'none of [0-9a-z]'}",
            f"  width          {width} pixels (p5/p50/p95)",
            f"  height         {height} pixels (p5/p50/p95)",
            f"  formats        {formats}",
        ]
    return "\n".join(lines)


def _histogram(lengths: dict[int, int]) -> str:
    """`2 |▃█▁ ▁| 6`: a bar for each length from the shortest to the longest."""
    shortest, longest, most = min(lengths), max(lengths), max(lengths.values())
    counts = [lengths.get(length, 0) for length in range(shortest, longest + 1)]
    bars = "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
    return f"{shortest} |{bars}| {longest}"
