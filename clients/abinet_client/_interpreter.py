"""Runs one of our modules in another Python, without modules from the current folder."""

from __future__ import annotations

import sys

# `python -m` and `python -c` look for modules in the current folder first, the standard library's too.
_RUN = """import sys
if sys.path[:1] == [""]:
    del sys.path[0]
import runpy
runpy.run_module({!r}, run_name="__main__", alter_sys=True)"""


def module_command(module: str) -> list[str]:
    """The start of a command line that runs it; arguments follow."""
    return [sys.executable, "-c", _RUN.format(module)]
