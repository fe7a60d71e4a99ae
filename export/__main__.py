"""``python -m export``: abinet export under any interpreter that has MindSpore, from Python 3.7 on."""

import argparse
import os
import sys

from export import command
from service.terminal import visible_output


def main() -> int:
    """Runs the export; a user's mistake is one line on standard error and exit code 2."""
    os.environ.setdefault("GLOG_v", "4")  # MindSpore's own log repeats what the errors say
    parser = argparse.ArgumentParser(prog="python -m export", description="Export a checkpoint to a bundle.")
    command.configure(parser)
    with visible_output():
        try:
            return command.run(parser.parse_args())
        except (OSError, ValueError) as error:
            print(f"abinet: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
