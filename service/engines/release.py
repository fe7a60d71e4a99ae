"""Prints the MindSpore release of the interpreter that runs this, or an empty line, without importing it."""

from __future__ import annotations

import glob
import os
import sys


def installed_release(distribution: str) -> str:
    """The installed version of a distribution, "" without one. (Python 3.7 has no importlib.metadata.)"""
    for folder in sys.path:
        for path in glob.glob(os.path.join(glob.escape(folder), distribution + "-*.dist-info")):
            return os.path.basename(path)[len(distribution) + 1 : -len(".dist-info")]
    return ""


if __name__ == "__main__":
    print(installed_release("mindspore"))
