"""``abinet calibrate``: fits a checkpoint's confidences on labelled crops that it was not trained on."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.data.sets.folders import SetPath
    from models.evaluation.checkpoint_reader import CheckpointReader


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("checkpoint", type=Path, metavar="NAME.ckpt", help="its NAME.json gets the numbers")
    parser.add_argument(
        "sets", type=Path, nargs="+", metavar="SETS", help="a set (LMDB or label file), or folders of sets"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the reliability diagram")


def run(args: argparse.Namespace) -> int:
    """Fits on one half of the crops, judges on the other, writes the sidecar; returns the exit code."""
    from models.calibration import fit
    from models.checkpoints.checkpoint import read_sidecar, sidecar_path, write_sidecar
    from models.data.sets.folders import find_sets
    from models.evaluation.checkpoint_reader import CheckpointReader
    from models.evaluation.files import check_folders, write
    from models.evaluation.reliability import reliability
    from models.evaluation.reliability_diagram import draw
    from models.evaluation.report import text_reliability

    if args.checkpoint.is_dir():
        raise ValueError(
            f"{args.checkpoint}: a folder; calibrate the checkpoint and export it as a bundle again"
        )
    paths = find_sets(args.sets)
    check_folders(args.plot)
    fitting, judging = _halves(CheckpointReader(args.checkpoint), paths)
    calibration = fit(fitting.probability, fitting.right)
    before = reliability(judging.probability, judging.right)
    confidence = calibration(judging.probability)
    after = reliability(confidence, judging.right)
    config = sidecar_path(args.checkpoint)
    write_sidecar(config, dataclasses.replace(read_sidecar(config), calibration=calibration))
    if args.plot:
        write(args.plot, draw(args.checkpoint.stem, after, confidence))
    print(
        f"Fitted on {len(fitting.right)} crops: slope {calibration.slope}, intercept {calibration.intercept}"
    )
    print(f"Judged on {len(judging.right)} others; uncalibrated, the error is {100 * before.error:.2f}\n")
    print(text_reliability(True, after))
    print(f"\n{config}: calibrated; bundles that are exported from now on are, too")
    return 0


class Half(NamedTuple):
    """The final readings of N crops: the probability of each, (N,), and whether it is right, (N,) bool."""

    probability: np.ndarray
    right: np.ndarray


def _halves(reader: CheckpointReader, paths: Sequence[SetPath]) -> tuple[Half, Half]:
    """All crops of the sets in two halves, chosen by the hash of the image file: whatever else is in the sets
    and in which order, a crop, and each copy of it, is always in the same half.

    Raises:
        ValueError: a half is empty.
    """
    from tqdm import tqdm

    from models.data.sets.folders import open_set
    from models.evaluation.scoring import read_set, reads

    halves: tuple[list[tuple[float, bool]], ...] = ([], [])
    sets, skipped = [open_set(path) for path in paths], Counter[str]()
    with tqdm(total=sum(map(len, sets)), disable=None) as bar:
        for labelled in sets:
            for crop, reading in read_set(reader, labelled, skipped, advance=bar.update):
                final = reading.final
                half = halves[hashlib.sha256(crop.encoded).digest()[0] % 2]
                half.append((final.probability, reads(final.text, crop.label)))
    if not all(halves):
        raise ValueError(f"only {sum(map(len, halves))} crops could be read; name sets of some hundred")
    fitting, judging = (Half(*(np.array(column) for column in zip(*half, strict=True))) for half in halves)
    return fitting, judging
