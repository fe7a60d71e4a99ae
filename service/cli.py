"""`abinet`: one command, whose subcommands are imported only when they are called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from service.extras import remedy
from service.terminal import visible, visible_output


class Command(NamedTuple):
    """A subcommand's module, with `configure(parser)` and `run(arguments) -> exit code`."""

    module: str
    summary: str
    ray_module: str | None = None
    """The module to use if --ray is given."""


COMMANDS = {
    "serve": Command("service.commands.serve", "read crops over HTTP"),
    "read": Command(
        "abinet_client.batch.command",
        "read folders of crops into a table",
        "service.commands.read_on_ray.command",
    ),
    "lite": Command("service.commands.lite", "make MindSpore Lite's environment, for a faster service"),
    "doctor": Command("service.doctor.command", "say what this machine can run, and what is missing"),
    "export": Command("export.command", "write a checkpoint's graphs as a bundle"),
    "inspect": Command("export.inspect_command", "print what a bundle is"),
    "verify": Command("export.verify_command", "check a bundle's hashes and numbers"),
    "import": Command("models.checkpoints.import_command", "convert a MindOCR or official checkpoint"),
    "train": Command("models.training.command", "train a network"),
    "misreadings": Command(
        "models.training.misreadings_command", "measure how a checkpoint's vision model misreads characters"
    ),
    "eval": Command("service.commands.evaluate.command", "measure word accuracy on labelled crops"),
    "calibrate": Command(
        "models.evaluation.calibrate_command", "fit a checkpoint's confidences to labelled crops"
    ),
    "data": Command("models.data.command", "render, pack and look at labelled words"),
}

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit code.

    If the user made a mistake, a command raises OSError or ValueError, and the user sees one line;
    ABINET_DEBUG=1 shows the traceback. The packages for serving are always installed; those for data,
    training and evaluation are extras.
    """
    # Processes that this one starts must not import from the current folder (Python 3.11).
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    with visible_output():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(words: list[str]) -> int:
    try:
        return _run(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads our output any more; without this, Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "service", "export", "models", "abinet_client"):
            raise
        print(f"abinet: {remedy(missing)}", file=sys.stderr)
        return USER_ERROR
    except (OSError, ValueError) as error:
        if os.environ.get("ABINET_DEBUG") == "1":
            traceback.print_exc()
        print(f"abinet: {_one_line(error)}", file=sys.stderr)
        return USER_ERROR


def _run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="abinet", description="ABINet reads cropped word images.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        # Without abbreviations: a flag that comes later must not change what an older command line means.
        subparser = subparsers.add_parser(
            name, help=command.summary, description=command.summary, allow_abbrev=False
        )
        subparser.set_defaults(parser=subparser)
        if name == chosen:
            _module(command, words).configure(subparser)
    options, unknown = parser.parse_known_args(words)
    if unknown:  # with the usage of the command that they were meant for
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    exit_code: int = _module(COMMANDS[options.command], words).run(options)
    return exit_code


def _module(command: Command, words: list[str]) -> ModuleType:
    on_ray = command.ray_module is not None and "--ray" in words
    return importlib.import_module(command.ray_module if on_ray and command.ray_module else command.module)


class _Version(argparse.Action):
    """Prints the installed version; looks it up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print("abinet", version("abinet-ascend"))
        parser.exit()


def _one_line(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return visible(" ".join(f"{error.filename}: {error.strerror}".split()))
    return visible(" ".join(str(error).split())) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
