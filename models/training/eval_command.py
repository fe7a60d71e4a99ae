"""``abinet eval``: how well a checkpoint reads labelled crops."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("checkpoint", type=Path, metavar="NAME.ckpt", help="its NAME.json lies beside it")
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="crops and their labels.tsv (file name, tab, label)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints word accuracy; returns the exit code."""
    import mindspore as ms

    from models.checkpoints import load_checkpoint
    from models.training.evaluate import evaluate

    ms.set_context(mode=ms.GRAPH_MODE)
    network, sidecar = load_checkpoint(args.checkpoint)
    results = {}
    for folder in args.folders:
        results[folder.name] = evaluate(
            network,
            sidecar.network,
            sidecar.preprocessing,
            folder,
            lambda done, total: _progress(done, total),
        )
    if args.json:
        print(json.dumps({name: result._asdict() for name, result in results.items()}, indent=2))
        return 0
    refinements = "".join(f"{f'iteration {i}':>13}" for i in range(1, sidecar.network.iterations + 1))
    print(f"{'set':<20}{'crops':>7}{'vision':>9}{refinements}")
    for name, result in results.items():
        shares = "".join(f"{100 * share:>13.2f}" for share in result.fused)
        print(f"{name:<20}{result.crops:>7}{100 * result.vision:>9.2f}{shares}")
        if result.skipped:
            print(f"  {result.skipped} more had no usable label or image")
    return 0


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
