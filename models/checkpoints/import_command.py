"""``abinet import``: a MindOCR .ckpt or an official .pth becomes a native checkpoint."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("source", type=Path, help="MindOCR .ckpt or official ABINet .pth (needs PyTorch)")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="NAME.ckpt", help="where to write"
    )
    parser.add_argument(
        "--normalise",
        choices=("yes", "no"),
        help="whether crops are normalised before this network; MindOCR's checkpoints need the answer",
    )
    parser.add_argument("--charset", help="characters in class order, without the null; default a-z, 1-9, 0")
    parser.add_argument(
        "--no-stop-length",
        choices=("full", "shortest"),
        help="length of a text without a stop character: all 26 steps, or 2; default: as in its own code",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing checkpoint")


def run(args: argparse.Namespace) -> int:
    """Imports ``args.source``; returns the exit code."""
    from models.charset import CHARSET_36
    from models.checkpoints.checkpoint import CheckpointError, save_checkpoint
    from models.checkpoints.importers import import_checkpoint

    if args.output.exists() and not args.force:
        raise CheckpointError(f"{args.output} exists; use --force to overwrite it")
    normalise = {"yes": True, "no": False, None: None}[args.normalise]
    charset = args.charset or CHARSET_36
    network, sidecar = import_checkpoint(args.source, normalise, charset, args.no_stop_length)
    save_checkpoint(network, args.output, sidecar)
    size = sidecar.network
    print(
        "{}: ABINet from {}, d_model {}, {} + {} layers, charset of {}".format(
            args.output,
            sidecar.training["origin"],
            size.d_model,
            size.vision_layers,
            size.language_layers,
            len(size.charset),
        )
    )
    return 0
