"""What the tests of training share with the processes that they start.

As a program it is `abinet` with the tiny network among those that recipes can name.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    from service.cli import main

    NETWORKS["tiny"] = TINY
    sys.exit(main())
