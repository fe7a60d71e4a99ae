"""``abinet calibrate``: fits a checkpoint's confidences and thresholds of early stop on labelled crops.

The checkpoint must not have been trained on them.
"""

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
    from models.early_stop import EarlyStop, Stages
    from models.evaluation.checkpoint_reader import CheckpointReader
    from models.evaluation.reading import StagedReading


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("checkpoint", type=Path, metavar="NAME.ckpt", help="its NAME.json gets the numbers")
    parser.add_argument(
        "sets", type=Path, nargs="+", metavar="SETS", help="a set (LMDB or label file), or folders of sets"
    )
    parser.add_argument(
        "--early-stop-loss",
        type=float,
        default=0.1,
        metavar="POINTS",
        help="word accuracy that early stop may cost (default: %(default)s)",
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the reliability diagram")


def run(args: argparse.Namespace) -> int:
    """Fits on one half of the crops, judges on the other, writes the sidecar; returns the exit code."""
    from models.calibration import fit
    from models.checkpoints.checkpoint import read_sidecar, sidecar_path, write_sidecar
    from models.data.sets.folders import find_sets
    from models.early_stop import choose
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
    sidecar = dataclasses.replace(read_sidecar(config), calibration=calibration)
    if sidecar.network.iterations:
        sidecar = dataclasses.replace(sidecar, early_stop=choose(fitting.stages, args.early_stop_loss))
    write_sidecar(config, sidecar)
    if args.plot:
        write(args.plot, draw(args.checkpoint.stem, after, confidence))
    print(
        f"Fitted on {len(fitting.right)} crops: slope {calibration.slope}, intercept {calibration.intercept}"
    )
    print(f"Judged on {len(judging.right)} others; uncalibrated, the error is {100 * before.error:.2f}\n")
    print(text_reliability(True, after))
    if sidecar.early_stop is not None:
        print(_early_stop_text(sidecar.early_stop, judging))
    print(f"\n{config}: calibrated; bundles that are exported from now on are, too")
    return 0


class Half(NamedTuple):
    """N crops: the probability of each final reading, (N,), whether it is right, (N,) bool, the stages that
    early stop may end after, and the name of each crop's set."""

    probability: np.ndarray
    right: np.ndarray
    stages: Stages
    sets: np.ndarray


def _early_stop_text(chosen: EarlyStop, judging: Half) -> str:
    """The cost and the saving of the thresholds on crops that they were not chosen on, set by set."""
    from models.early_stop import Stages, outcome

    lines = [
        f"\nEarly stop if vision gives every character at least {chosen.vision}, or a refinement gives "
        f"{chosen.settled} and changes nothing; chosen to lose {chosen.loss:g} points at most. "
        "On the other half:",
        f"{'set':<24}{'crops':>7}{'points lost':>13}{'refinements saved, %':>22}",
    ]
    names = [*dict.fromkeys(judging.sets.tolist()), "all crops"]
    for name in names:
        of = judging.sets == name if name != names[-1] else np.full(len(judging.sets), True)
        lost, saved = outcome(Stages(*(part[of] for part in judging.stages)), chosen.vision, chosen.settled)
        lines.append(f"{name:<24}{int(of.sum()):>7}{lost:>13.2f}{100 * saved:>22.1f}")
    return "\n".join(lines)


def _halves(reader: CheckpointReader, paths: Sequence[SetPath]) -> tuple[Half, Half]:
    """All crops of the sets in two halves, chosen by the hash of the image file: whatever else is in the sets
    and in which order, a crop, and each copy of it, is always in the same half.

    Raises:
        ValueError: a half is empty.
    """
    from tqdm import tqdm

    from models.data.sets.folders import open_set
    from models.evaluation.scoring import read_set

    halves: tuple[list[tuple[StagedReading, str, str]], ...] = ([], [])
    sets, skipped = [open_set(path) for path in paths], Counter[str]()
    with tqdm(total=sum(map(len, sets)), disable=None) as bar:
        for labelled in sets:
            for crop, reading in read_set(reader, labelled, skipped, advance=bar.update):
                half = halves[hashlib.sha256(crop.encoded).digest()[0] % 2]
                half.append((reading, crop.label, labelled.name))
    if not all(halves):
        raise ValueError(f"only {sum(map(len, halves))} crops could be read; name sets of some hundred")
    fitting, judging = map(_half, halves)
    return fitting, judging


def _half(crops: Sequence[tuple[StagedReading, str, str]]) -> Half:
    """A half from readings, labels and names of sets."""
    from models.early_stop import Stages
    from models.evaluation.scoring import reads

    stages = [(reading.vision, *reading.fused) for reading, _, _ in crops]
    labels = [label for _, label, _ in crops]
    right = np.array([[reads(w.text, label) for w in of] for of, label in zip(stages, labels, strict=True)])
    same = [[i > 0 and of[i].text == of[i - 1].text for i in range(len(of))] for of in stages]
    weakest = [[word.weakest for word in of] for of in stages]
    return Half(
        np.array([of[-1].probability for of in stages]),
        right[:, -1],
        Stages(right, np.array(same), np.array(weakest)),
        np.array([name for _, _, name in crops]),
    )
