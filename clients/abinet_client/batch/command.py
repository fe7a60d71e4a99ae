"""``abinet read``: crops to a table of texts, with a running service or one that it starts."""

from __future__ import annotations

import argparse
import contextlib

from abinet_client.batch.flags import check, configure
from abinet_client.batch.run import Run

__all__ = ["configure", "run"]

INTERRUPTED = 130


def run(args: argparse.Namespace) -> int:
    """Reads; returns the exit code: 0, or 1 if a row has an error, or 130 after Ctrl-C."""
    check(args)
    with contextlib.ExitStack() as stack:
        reading = Run.prepared(args, stack)
        ended: BaseException | None = None
        try:
            reading.read(args)
        except (KeyboardInterrupt, SystemExit) as error:
            ended = error
        except (ValueError, OSError) as error:
            if not reading.done:
                raise
            ended = error
        reading.finish(args)
        if isinstance(ended, KeyboardInterrupt):
            if args.output:
                reading.progress.say("stopped; the same command with --resume goes on")
            return INTERRUPTED
        if ended is not None:
            raise ended
        return reading.exit_code
