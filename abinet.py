"""The command `abinet`, also as `python -m abinet`.

The project's packages have common names, so they are looked for beside this file, before `PYTHONPATH`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_PACKAGES = ("service", "export", "models")
_FOLDER = os.path.dirname(os.path.abspath(__file__))


class _BesideThisFile:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [_FOLDER]) if name in _PACKAGES else None


def main() -> int:
    """Runs the command; its exit code."""
    sys.meta_path.insert(0, _BesideThisFile)
    from service.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
