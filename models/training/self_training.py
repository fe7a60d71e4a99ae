"""Ensemble self-training: labels for images without, where all iterations are certain (paper section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from models.abinet import NetworkConfig
from models.data.sets.folders import SetPath
from models.data.sets.samples import UnusableSample
from models.preprocessing import Preprocessing
from models.training.sources import Joined

BATCH = 64


def certainty(logits: Sequence[np.ndarray]) -> np.ndarray:
    """How certain the ensemble of the iterations' fused readings is of N texts (equations 8 and 9).

    logits: one (N, T, classes) an iteration. An iteration's certainty is the exponentiated mean
    log-probability of its characters and its stop; the ensemble's is the least of them, (N,), in (0, 1].
    """
    return np.min([_certainty_of_one(part) for part in logits], axis=0)


def _certainty_of_one(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probability = -np.log(np.exp(shifted).sum(axis=-1))
    stops = logits.argmax(axis=-1) == 0
    lengths = np.where(stops.any(axis=1), stops.argmax(axis=1) + 1, stops.shape[1])
    read = np.arange(stops.shape[1]) < lengths[:, None]
    result: np.ndarray = np.exp((log_probability * read).sum(axis=1) / lengths)
    return result


def pseudo_labels(
    read: Callable[[np.ndarray], Sequence[np.ndarray]],
    config: NetworkConfig,
    preprocessing: Preprocessing,
    sets: Sequence[SetPath],
    numbers: Sequence[int],
    least: float,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[int, tuple[str, float]]:
    """Sample number -> text and certainty, for the images whose text the ensemble is at least ``least``
    certain of. ``read``: images (64, 3, 32, 128) -> logits of vision, language, fused and so on. Images that
    do not decode, and texts that are empty or have no stop, are left out."""
    labels: dict[int, tuple[str, float]] = {}
    for batch in _batches(Joined(sets), numbers, preprocessing):
        images = np.stack([image for _, image in batch])
        filled = np.concatenate([images, np.repeat(images[:1], BATCH - len(images), axis=0)])
        fused = [logits[: len(images)] for logits in read(filled)[2::2]]
        for (number, _), classes, sure in zip(
            batch, fused[-1].argmax(axis=-1), certainty(fused), strict=True
        ):
            length = int((classes == 0).argmax()) if (classes == 0).any() else 0
            if length and sure >= least:
                labels[number] = "".join(config.charset[c - 1] for c in classes[:length]), float(sure)
        progress(len(batch))
    return labels


def _batches(
    samples: Joined, numbers: Sequence[int], preprocessing: Preprocessing
) -> Iterator[list[tuple[int, np.ndarray]]]:
    batch: list[tuple[int, np.ndarray]] = []
    for number in numbers:
        try:
            batch.append((number, preprocessing(samples.image(number))))
        except UnusableSample:
            continue
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def write_labels(path: Path, labels: dict[int, tuple[str, float]]) -> None:
    """One line a label: sample number, text, certainty, tab between."""
    lines = (f"{number}\t{text}\t{sure:.4f}\n" for number, (text, sure) in sorted(labels.items()))
    path.write_text("".join(lines), encoding="utf-8")


def read_labels(path: Path) -> dict[int, str]:
    """The texts of a file that :func:`write_labels` wrote."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {int(number): text for number, text, _ in rows}
