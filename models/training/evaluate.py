"""Word accuracy of a network on a folder of labelled crops: of vision alone and after every iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mindspore import Tensor

from models.abinet import ABINet, NetworkConfig
from models.data.words import label_of
from models.preprocessing import Preprocessing
from models.training.spelling import encode

LABELS = "labels.tsv"
BATCH = 32


class Accuracy(NamedTuple):
    """Shares of ``crops`` read without a mistake, case-insensitive, [0-9a-z] only; ``skipped`` crops had no
    usable label or image."""

    crops: int
    skipped: int
    vision: float
    fused: tuple[float, ...]


def is_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logits (N, T, classes), labels (N, T) with nulls after the end -> (N,) bool: read without a mistake."""
    classes = logits.argmax(-1)
    ended = np.cumsum(classes == 0, axis=1) > 0
    right: np.ndarray = (np.where(ended, 0, classes) == labels).all(axis=1)
    return right


def evaluate(
    network: ABINet,
    config: NetworkConfig,
    preprocessing: Preprocessing,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Accuracy:
    """Reads the crops that ``folder``/labels.tsv names (file name, tab, label).

    Raises:
        ValueError: no labels, or none of them usable.
    """
    rows = _read_labels(folder / LABELS)
    right: list[np.ndarray] = []
    batch: list[tuple[np.ndarray, np.ndarray]] = []
    for done, crop in enumerate(_crops(folder, rows, config, preprocessing), start=1):
        batch += [crop] if crop else []
        if len(batch) == BATCH or (batch and done == len(rows)):
            right.append(_read(network, batch))
            batch = []
            progress(done, len(rows))
    if not right:
        raise ValueError(
            f"{folder / LABELS}: names no readable crop with a label of 1 to {config.max_length}"
        )
    shares = [float(share) for share in np.concatenate(right, axis=1).mean(axis=1)]
    count = sum(part.shape[1] for part in right)
    return Accuracy(count, len(rows) - count, shares[0], tuple(shares[2::2]))


def _read(network: ABINet, batch: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(outputs, N) bool; the batch is filled up to one size, for which the network is compiled once."""
    images, labels = np.stack([image for image, _ in batch]), np.stack([label for _, label in batch])
    filled = np.concatenate([images, np.repeat(images[:1], BATCH - len(images), axis=0)])
    outputs = network(Tensor(filled))
    return np.stack([is_right(output.asnumpy()[: len(images)], labels) for output in outputs])


def _crops(
    folder: Path, rows: list[tuple[str, str]], config: NetworkConfig, preprocessing: Preprocessing
) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
    for name, text in rows:
        label, image = label_of(text), cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
        usable = image is not None and 0 < len(label) <= config.max_length
        yield (
            (preprocessing(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), encode(label, config)[0])
            if usable
            else None
        )


def _read_labels(path: Path) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
    if not rows or any(len(row) != 2 for row in rows):
        raise ValueError(f"{path}: each line needs a file name, a tab and a label")
    return [(name, text) for name, text in rows]
