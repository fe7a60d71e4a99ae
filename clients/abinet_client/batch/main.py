"""``abinet-read``: `abinet read` for a machine that has only the client."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from abinet_client.batch import command
from abinet_client.batch.terminal import visible

USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; a user's mistake is one line."""
    parser = argparse.ArgumentParser(
        prog="abinet-read", description="Reads folders of crops into a table.", allow_abbrev=False
    )
    command.configure(parser)
    try:
        return command.run(parser.parse_args(arguments))
    except KeyboardInterrupt:
        return command.INTERRUPTED
    except BrokenPipeError:
        # Nobody reads our output any more; without this, Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        told = f"{error.name} is not installed: pip install 'abinet-client[batch]'"
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
    except ValueError as error:
        told = str(error)
    print(f"abinet-read: {visible(' '.join(told.split()))}", file=sys.stderr)
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
