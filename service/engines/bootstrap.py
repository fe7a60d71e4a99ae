"""Runs a module of this project under any Python, for instance the 3.7 that MindSpore Lite's wheel pins.

    OTHER_PYTHON .../service/engines/bootstrap.py service.engines.worker ARGUMENTS...

The project's folder may be another Python's site-packages, so it must not be on the path: only the project's
own packages are found there. This file's folder must not be on it either, because its mindspore.py would hide
the real one.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from typing import Any

_PACKAGES = ("service", "export", "models")
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class _ProjectFinder:
    """Finds the project's packages in their folder, and nothing else there."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in _PACKAGES:
            return None
        folder = os.path.join(_ROOT, name)
        return spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )


if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    sys.meta_path.insert(0, _ProjectFinder)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
