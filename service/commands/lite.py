"""`abinet lite`: MindSpore Lite's environment, and the bundled model for it; `--engine auto` takes both."""

from __future__ import annotations

import argparse

from export import lite_environment
from service.bundled import bundled_model
from service.engine_choice import lite_directory


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", metavar="PYTHON", help="a Python 3.7 to use (default: search for one)")


def run(arguments: argparse.Namespace) -> int:
    directory = lite_directory()
    directory.parent.mkdir(parents=True, exist_ok=True)
    print(f"making {directory}: MindSpore and MindSpore Lite for Python 3.7, some 700 MB", flush=True)
    python = lite_environment.make(directory, arguments.python)
    print("exporting the bundled model for it", flush=True)
    print(f"{bundled_model(str(python))} is there; `abinet serve` runs it with MindSpore Lite from now on")
    return 0
