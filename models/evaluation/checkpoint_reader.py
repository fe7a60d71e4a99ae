"""A checkpoint, read by its network in MindSpore's graph mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import mindspore as ms
import numpy as np

from models.checkpoints import load_checkpoint
from models.evaluation.reading import Crop, Reading, decode

BATCH = 32
_DIGITS = 6
"""Of a confidence, as in the service's answers."""


class CheckpointReader:
    """The network of NAME.ckpt and NAME.json.

    Raises:
        CheckpointError: a file is missing or broken, or they do not fit each other.
    """

    def __init__(self, checkpoint: Path) -> None:
        ms.set_context(mode=ms.GRAPH_MODE)
        self._network, sidecar = load_checkpoint(checkpoint)
        self._charset = sidecar.network.charset
        self._preprocess = sidecar.preprocessing
        self._calibration = sidecar.calibration
        self.model = checkpoint.stem
        self.engine = f"MindSpore {ms.__version__}, the network itself"
        self.iterations = sidecar.network.iterations
        self.calibrated = sidecar.calibration is not None

    def read(self, crops: Iterable[Crop]) -> Iterator[Reading]:
        """One reading a crop."""
        images = (self._preprocess(crop.rgb) for crop in crops)
        while batch := list(islice(images, BATCH)):
            yield from self._read(np.stack(batch))

    def _read(self, images: np.ndarray) -> list[Reading]:
        # Filled up to one size, for which the network is compiled once.
        filled = np.concatenate([images, np.repeat(images[:1], BATCH - len(images), axis=0)])
        outputs = [output.asnumpy()[: len(images)] for output in self._network(ms.Tensor(filled))]
        stages = [decode(logits, self._charset) for logits in outputs]
        probability = np.array([final.probability for final in stages[-1]])
        confidence = probability if self._calibration is None else self._calibration(probability)
        return [
            Reading.of(crop_stages, sure)
            for *crop_stages, sure in zip(*stages, confidence.round(_DIGITS).tolist(), strict=True)
        ]
