"""Makes sets of crops on their sides and upside down from sets of upright ones, to measure turns with."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import cv2

from models.data.sets.folders import LABELS, find_sets, open_set
from models.data.sets.samples import UnusableSample
from service.image_files.turns import TALL, turned


def turned_sets(source: Path, target: Path, every: int) -> None:
    """Writes `tall`, the tall crops of all sets in `source`, and `turned_0`, `_90`, `_180` and `_270`.

    Those hold every so many-th crop of each set that would be tall on its side, turned by as many degrees
    clockwise.
    """
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for labelled in map(open_set, find_sets([source])):
        for number in range(len(labelled)):
            try:
                rgb, label = labelled.crop(number)
            except UnusableSample:
                continue
            height, width = rgb.shape[:2]
            ways = {"tall": 0} if height > TALL * width else {}
            if width > TALL * height and number % every == 0:
                ways = {f"turned_{degrees}": degrees for degrees in (0, 90, 180, 270)}
            for name, degrees in ways.items():
                file = target / name / f"{labelled.name}_{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), cv2.cvtColor(turned(rgb, degrees), cv2.COLOR_RGB2BGR))
                lines[name].append(f"{file.name}\t{label}\n")
    for name, rows in lines.items():
        (target / name / LABELS).write_text("".join(rows), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="SETS", help="a set or a folder of sets")
    parser.add_argument("target", type=Path, metavar="TARGET", help="new folder")
    parser.add_argument("--every", type=int, default=4, metavar="N", help="turn every N-th (default: 4)")
    arguments = parser.parse_args()
    turned_sets(arguments.source, arguments.target, arguments.every)
    return 0


if __name__ == "__main__":
    sys.exit(main())
