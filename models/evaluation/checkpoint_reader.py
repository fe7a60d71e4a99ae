"""A checkpoint, read by its network in MindSpore's graph mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, tee
from pathlib import Path

import mindspore as ms
import numpy as np

from models.abinet.config import IMAGE_SIZE
from models.charset import certainty, decode
from models.checkpoints.checkpoint import load_checkpoint
from models.evaluation.reading import LabelledCrop, StagedReading, Turns
from models.evaluation.turns import turned, ways_up

BATCH = 32
_DIGITS = 6
"""Digits of a confidence, as in the service's answers."""


class CheckpointReader:
    """The network of NAME.ckpt and NAME.json, which reads crops as many ways up as ``turns`` says.

    Raises:
        CheckpointError: a file is missing or broken, or they do not fit each other.
    """

    def __init__(self, checkpoint: Path, turns: Turns = "auto") -> None:
        ms.set_context(mode=ms.GRAPH_MODE)
        self._network, sidecar = load_checkpoint(checkpoint)
        self._charset = sidecar.network.charset
        self._preprocess = sidecar.preprocessing
        self._calibration = sidecar.calibration
        self.model = checkpoint.stem
        self.engine = f"MindSpore {ms.__version__}, the network itself"
        self.iterations = sidecar.network.iterations
        self.calibrated = sidecar.calibration is not None
        self.turns = turns

    def read(self, crops: Iterable[LabelledCrop]) -> Iterator[StagedReading]:
        """One reading a crop: the surest."""
        crops, same_crops = tee(crops)
        readings = self._read_all(same_crops)
        for crop in crops:
            count = len(ways_up(crop.rgb, self.turns))
            _, reading = max(islice(readings, count), key=lambda sure_reading: sure_reading[0])
            yield reading

    def _read_all(self, crops: Iterable[LabelledCrop]) -> Iterator[tuple[float, StagedReading]]:
        """Each crop's readings with their certainty."""
        ways = ((crop.rgb, degrees) for crop in crops for degrees in ways_up(crop.rgb, self.turns))
        while batch := list(islice(ways, BATCH)):
            images = np.stack([self._preprocess(turned(rgb, degrees), IMAGE_SIZE) for rgb, degrees in batch])
            readings = self._read(images)
            for (sureness, reading), (_, degrees) in zip(readings, batch, strict=True):
                yield sureness, reading._replace(turned=degrees)

    def _read(self, images: np.ndarray) -> list[tuple[float, StagedReading]]:
        # Filled up to one size, for which the network is compiled once.
        filled = np.concatenate([images, np.repeat(images[:1], BATCH - len(images), axis=0)])
        outputs = [output.asnumpy()[: len(images)] for output in self._network(ms.Tensor(filled))]
        stages = [decode(logits, self._charset) for logits in outputs]
        probability = np.array([final.probability for final in stages[-1]])
        confidence = probability if self._calibration is None else self._calibration(probability)
        readings = [
            StagedReading.of(crop_stages, sure)
            for *crop_stages, sure in zip(*stages, confidence.round(_DIGITS).tolist(), strict=True)
        ]
        return list(zip(certainty(outputs[-1]).tolist(), readings, strict=True))
