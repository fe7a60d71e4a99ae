"""``abinet export``: a checkpoint becomes a bundle."""

import argparse
import sys
from pathlib import Path
from typing import List


def batch_sizes(text: str) -> List[int]:
    """ "4,16" -> [4, 16]."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 4,16") from None
    if not all(1 <= size <= 256 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r}: batch sizes go from 1 to 256")
    return sizes


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="NAME.ckpt", help="the checkpoint, its NAME.json beside it"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="DIR", help="the bundle to write")
    parser.add_argument(
        "--batch-sizes",
        type=batch_sizes,
        default=[],
        metavar="N,N",
        help="further fixed batch sizes, such as 4,16; batch 1 is always there",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "fp16"), default="fp32", help="fp16 stores half-precision weights"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="crops to compare graphs and network on, beside random images",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")
    parser.add_argument(
        "--ascend",
        nargs="?",
        const="910",
        metavar="TARGET",
        help="also compile for Ascend with MindSpore Lite's converter (default target 910)",
    )


def run(args: argparse.Namespace) -> int:
    """Exports; returns the exit code."""
    from export.exporter import export_bundle

    manifest = export_bundle(
        args.checkpoint,
        args.output,
        args.batch_sizes,
        args.precision,
        args.images,
        args.force,
        args.ascend,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    rounding = manifest.get("precision_difference")
    if rounding:
        print(
            "half-precision weights move the logits by up to {largest_logit_difference:.1e} and change "
            "{texts_changed} of {images} readings".format(**rounding)
        )
    print(f"{args.output}: bundle of {manifest['name']} ({manifest['version']})")
    return 0
