"""Imports one package for real and prints its version and this Python's: `probe PACKAGE`, answer in JSON.

It runs under the interpreter of an engine worker: only an import shows whether libraries fit together.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys


def main() -> int:
    package = importlib.import_module(sys.argv[1])
    print(json.dumps({"version": package.__version__, "python": platform.python_version()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
