"""The command line of ``abinet read``: its flags, and the check of their combinations."""

from __future__ import annotations

import argparse
import os
from typing import get_args

from abinet_client import Turns
from abinet_client.batch.report import BEGIN
from abinet_client.batch.rows import FORMATS
from abinet_client.batch.sources import Inputs
from abinet_client.connect import connect

_OF_A_SERVICE = ("bundle", "engine", "worker_python", "devices")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    _declare_inputs(parser)
    _declare_reading(parser)
    _declare_output(parser.add_argument_group("output"))
    private = parser.add_argument_group("what the service runs that this command starts without --url")
    private.add_argument("--bundle", metavar="DIR", help="the bundle (default: the bundled model)")
    private.add_argument("--engine", help="mindspore, lite or simulated")
    private.add_argument("--worker-python", metavar="PYTHON", help="interpreter of the engine worker")
    private.add_argument("--devices", help="cpu, or numbers of Ascend cards such as 0,1")


def _declare_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="folder (with all folders below it), image file, 'glob', LMDB folder, list.txt of paths, "
        "or - for a list on the standard input",
    )
    parser.add_argument(
        "--null", "-0", action="store_true", help="paths in lists end in NUL, not in line breaks"
    )
    parser.add_argument("--url", help="a running service, http://... or unix:PATH (default: start one)")
    parser.add_argument(
        "--ray", action="store_true", help="read on a Ray cluster, with abinet-ascend: see --ray --help"
    )


def _declare_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--iterations", type=int, metavar="N", help="refinements (default: the model's own)")
    parser.add_argument("--early-stop", action="store_true", help="stop refining once the reader is sure")
    parser.add_argument(
        "--turns",
        choices=get_args(Turns),
        help="ways up: auto turns tall crops, all every crop (default: auto)",
    )
    parser.add_argument(
        "--lexicon",
        metavar="FILE",
        help="file of up to 10,000 words, one a line: also write the likeliest of them",
    )
    parser.add_argument(
        "--alternatives", type=int, metavar="K", help="also write the K likeliest readings, up to 10"
    )
    parser.add_argument(
        "--regions",
        metavar="LABELS",
        help="the inputs are photos, and LABELS has the outlines of their texts: a folder of ICDAR's "
        "gt_NAME.txt, or a file of PaddleOCR's; writes a row for each text",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress bar (default: on a terminal)",
    )


def _declare_output(output: argparse._ArgumentGroup) -> None:
    output.add_argument(
        "--output",
        "-o",
        metavar="FILE",
        help="CSV, TSV or JSONL; - is the standard output (default: TSV to it)",
    )
    output.add_argument("--format", choices=FORMATS, help="format (default: by the file's ending)")
    output.add_argument(
        "--detail", action="store_true", help="also write turns and what every iteration read"
    )
    output.add_argument("--resume", action="store_true", help="skip what the output already has, and append")
    output.add_argument(
        "--min-confidence",
        type=_share,
        metavar="X",
        help="crops of a lower confidence, and those that cannot be read, go to the "
        "review file, not to the output",
    )
    output.add_argument(
        "--review", metavar="FILE", help="the review file (default: NAME.review.csv beside NAME.csv)"
    )
    output.add_argument("--report", metavar="FILE.html", help="a page of the least certain crops")
    output.add_argument(
        "--labels",
        metavar="FILE",
        help="label file (tab, CSV, ICDAR's, JSON lines): prints the accuracy; with --regions "
        "the set's ground truth, in the same forms: the texts of regions in the same places",
    )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a confidence, 0 to 1")
    return share


def check(args: argparse.Namespace) -> None:
    """Checks the whole command line before the long work."""
    if args.output == "-":
        args.output = None
    if args.url:
        try:
            connect(args.url).close()
        except ValueError as error:
            raise ValueError(str(error).replace("base_url", "--url", 1)) from None
    Inputs(args.inputs, null=args.null).check()
    private = serve_options(args)
    if args.url and private:
        raise ValueError(f"{private[0]} is for a service that this command starts; leave it out with --url")
    if args.resume and not args.output:
        raise ValueError("--resume needs --output, the file to go on with")
    if args.review and args.min_confidence is None:
        raise ValueError("--review needs --min-confidence, which decides what goes there")
    if args.min_confidence is not None and not args.review:
        if not args.output:
            raise ValueError("--min-confidence needs --review FILE, or --output FILE to name it after")
        args.review = ".review".join(os.path.splitext(args.output))
    named = [file for file in (args.output, args.review, args.report) if file]
    for file in named:
        if not os.path.isdir(os.path.dirname(file) or "."):
            raise ValueError(f"{os.path.dirname(file)}: no such folder; make it first")
    if len({os.path.abspath(file) for file in named}) < len(named):
        raise ValueError("--output, --review and --report must be different files")
    if args.report:
        _check_report(args.report)


def _check_report(path: str) -> None:
    """A report replaces an earlier one, but nothing else: the name may be that of an input."""
    folder = os.path.dirname(path) or "."
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder}: cannot be written to; choose another place for --report")
    if not os.path.lexists(path):
        return
    begin = b""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            begin = file.read(len(BEGIN))
    if begin != BEGIN.encode():
        raise ValueError(f"{path}: exists already and is no report; choose another name for --report")


def serve_options(args: argparse.Namespace) -> list[str]:
    """The flags that are for a service of our own, as ``abinet serve`` has them."""
    given = {f"--{name.replace('_', '-')}": getattr(args, name, None) for name in _OF_A_SERVICE}
    return [word for option, value in given.items() if value for word in (option, value)]
