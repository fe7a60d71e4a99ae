"""What the tests of training share with the processes that they start.

As a program it is `abinet` with the tiny network among those that recipes can name, and in place of the
paper's. With `KILLED_AT` in the environment its first process ends as by a kill when it has saved its weights
so many times, before it saves its state.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np

from models.abinet import NETWORKS, NetworkConfig
from models.training.sources import Drawn

TINY = NetworkConfig(
    d_model=16, heads=2, d_inner=32, vision_layers=1, language_layers=1, resnet_channels=(4, 4, 8, 8, 16),
    resnet_blocks=(1, 1, 1, 1, 1), attention_channels=4, dropout=0.0,
)  # fmt: skip


class Letters:
    """Crops labelled with one letter and their index."""

    def __init__(self, letter: str) -> None:
        self.letter = letter

    def open(self) -> Any:
        return lambda index: Drawn(np.zeros((4, 4, 3), np.uint8), f"{self.letter}{index}")


class Broken:
    """A source that cannot be opened where batches are made."""

    def open(self) -> Any:
        raise OSError("no such disk")


def kill_between_the_saves(saves: int) -> None:
    from models.training import train

    save_state = train.save_state  # type: ignore[attr-defined]
    left = iter(range(saves - 1, -1, -1))

    def save_or_die(*arguments: Any) -> None:
        if not next(left):
            os.kill(os.getpid(), signal.SIGKILL)
        save_state(*arguments)

    setattr(train, "save_state", save_or_die)  # noqa: B010


if __name__ == "__main__":
    from service.cli import main

    NETWORKS["tiny"] = NETWORKS["abinet_resnet45_en"] = TINY
    if "KILLED_AT" in os.environ:
        kill_between_the_saves(int(os.environ["KILLED_AT"]))
    sys.exit(main())
