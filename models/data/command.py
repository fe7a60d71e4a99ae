"""`abinet data`: makes training data, packs it and looks at it."""

from __future__ import annotations

import argparse
import signal
import sys

from models.data import text_command
from models.data.rendering import render_command
from models.data.sets import pack_command, stats_command

COMMANDS = {
    "render": (render_command, "render labelled word crops from fonts and words"),
    "pack": (pack_command, "write labelled images as one LMDB"),
    "text": (text_command, "count the words of running text, for the language stage"),
    "stats": (stats_command, "count what labelled sets hold, and draw a sheet of it"),
}

TERMINATED = 128 + signal.SIGTERM


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        subparser.set_defaults(parser=subparser)
        module.configure(subparser)


def run(args: argparse.Namespace) -> int:
    module, _ = COMMANDS[args.data_command]
    # As after Ctrl-C, unfinished output is removed.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        return module.run(args)
    finally:
        signal.signal(signal.SIGTERM, previous)
