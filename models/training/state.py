"""The state of a stage in progress, so that a killed training goes on where it was saved."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

PROGRESS = "progress"


@dataclass
class Progress:
    """The progress of a training: ``steps`` of stage number ``stage``, and the samples that all stages have
    used so far. ``best`` is the highest accuracy that a validation of this stage has seen, ``batch`` is the
    global batch of one step (0: not known).
    """

    stage: int = 0
    steps: int = 0
    samples: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: float = -1.0
    batch: int = 0


def save_state(path: Path, state: Mapping[str, np.ndarray], progress: Progress) -> None:
    """Writes a backend's state and the progress as one .npz, whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **{PROGRESS: np.array(json.dumps(asdict(progress)))}, **state)
    os.replace(partial, path)


def load_progress(path: Path) -> Progress | None:
    """The progress of the saved state; None if there is none.

    Raises:
        ValueError: not a state; one line with the remedy.
    """
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            return Progress(**json.loads(str(stored[PROGRESS])))
    except Exception:  # zipfile, json and numpy each have errors of their own
        raise ValueError(f"{path}: not a training's state; remove it to begin the stage anew") from None


def load_state(path: Path) -> dict[str, np.ndarray]:
    """The backend's state in a file that :func:`save_state` wrote."""
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files if name != PROGRESS}
