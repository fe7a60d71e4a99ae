"""Files that an evaluation leaves."""

from __future__ import annotations

import os
from pathlib import Path


def check_folders(*files: Path | None) -> None:
    """Checks that the folders of output files exist, because an evaluation may take hours.

    Raises:
        ValueError: names the folder that is not there.
    """
    for file in files:
        if file and not file.parent.is_dir():
            raise ValueError(f"{file.parent}: no such folder; make it first")


def write(path: Path, content: bytes) -> None:
    """Writes the whole file or nothing."""
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
