"""The state of a stage in progress, so that a killed training goes on where it was saved."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import mindspore as ms
import numpy as np

PROGRESS = "progress"


@dataclass
class Progress:
    """How far a training is: ``steps`` of stage number ``stage``, and what all stages have used so far.
    ``best`` is the highest accuracy that a validation of this stage has seen."""

    stage: int = 0
    steps: int = 0
    samples: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: float = -1.0


def save_state(path: Path, parameters: Iterable[ms.Parameter], progress: Progress) -> None:
    """Writes weights, moments and progress as one .npz, whole or not at all."""
    partial = path.with_suffix(".partial")
    arrays = {parameter.name: parameter.asnumpy() for parameter in parameters}
    with partial.open("wb") as file:
        np.savez(file, **{PROGRESS: np.array(json.dumps(asdict(progress)))}, **arrays)
    os.replace(partial, path)


def load_progress(path: Path) -> Progress | None:
    """How far the saved state is; None without one.

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


def load_parameters(path: Path, parameters: Iterable[ms.Parameter]) -> None:
    """Fills the parameters from a state that :func:`save_state` wrote.

    Raises:
        ValueError: it belongs to another network or recipe.
    """
    with np.load(path) as stored:
        for parameter in parameters:
            if parameter.name not in stored or stored[parameter.name].shape != parameter.shape:
                raise ValueError(
                    f"{path}: the state of another recipe ({parameter.name} does not fit); remove it or"
                    " choose another folder"
                )
            parameter.set_data(ms.Tensor(stored[parameter.name]))
