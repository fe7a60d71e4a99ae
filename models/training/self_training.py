"""Ensemble self-training: labels unlabelled images if all iterations are certain (paper section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from models.abinet import NetworkConfig
from models.abinet.config import IMAGE_SIZE
from models.charset import certainty, text_lengths, texts
from models.data.sets.folders import SetPath
from models.data.sets.samples import UnusableSample
from models.training.sources import Joined
from service.bundle_format.preprocessing import Preprocessing

BATCH = 64


def ensemble_certainty(logits: Sequence[np.ndarray]) -> np.ndarray:
    """The certainty of the ensemble of the iterations' fused readings for N texts (equations 8 and 9).

    logits: one (N, T, classes) an iteration -> (N,), in (0, 1]: that of the least certain iteration.
    """
    return np.min([certainty(part) for part in logits], axis=0)


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
        classes = fused[-1].argmax(axis=-1)
        stopped = text_lengths(classes) < config.steps
        rows = zip(batch, texts(classes, config.charset), stopped, ensemble_certainty(fused), strict=True)
        for (number, _), text, has_stop, sure in rows:
            if text and has_stop and sure >= least:
                labels[number] = text, float(sure)
        progress(len(batch))
    return labels


def _batches(
    samples: Joined, numbers: Sequence[int], preprocessing: Preprocessing
) -> Iterator[list[tuple[int, np.ndarray]]]:
    batch: list[tuple[int, np.ndarray]] = []
    for number in numbers:
        try:
            batch.append((number, preprocessing(samples.image(number), IMAGE_SIZE)))
        except UnusableSample:
            continue
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def write_labels(path: Path, labels: dict[int, tuple[str, float]]) -> None:
    """Writes a line for each label: sample number, text and certainty, with tabs between."""
    lines = (f"{number}\t{text}\t{sure:.4f}\n" for number, (text, sure) in sorted(labels.items()))
    path.write_text("".join(lines), encoding="utf-8")


def read_labels(path: Path) -> dict[int, str]:
    """The texts of a file that :func:`write_labels` wrote."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {int(number): text for number, text, _ in rows}
