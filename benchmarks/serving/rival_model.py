"""What a server of forty lines does with our bundle: the same graph, our decoding, text and confidence."""

from typing import Any

import numpy as np

from service.engines.bundle import Bundle
from service.engines.engine import EngineOptions, open_engine
from service.engines.simulated import TEXT
from service.image_decoding.preprocess import Preprocessor, decode_image
from service.reading.calibration import calibration_of
from service.reading.decode import Decoder

_MAX_PIXELS = 16_000_000


class Model:
    """The bundle's fused graph in this process; `engine` none reads nothing."""

    def __init__(self, folder: str, engine: str) -> None:
        bundle = Bundle(folder)
        self._preprocess = Preprocessor(bundle)
        self._decode = Decoder(bundle.charset, calibration_of(bundle))
        self._sizes = sorted({graph.batch for graph in bundle.graphs})
        self._engine = None
        if engine != "none":
            self._engine = open_engine(bundle, EngineOptions(engine=engine, graph="fused"))
            self._engine.warm_up(self._engine.graphs)
        self.largest = self._sizes[-1]

    def prepared(self, file: bytes) -> np.ndarray:
        """The network's input, (3,32,128)."""
        return self._preprocess(decode_image(file, _MAX_PIXELS))

    def read(self, inputs: list[np.ndarray]) -> list[dict[str, Any]]:
        """As many as the largest graph takes, in the smallest that takes them."""
        if self._engine is None:
            return [{"text": TEXT, "confidence": 1.0}] * len(inputs)
        size = next(size for size in self._sizes if size >= len(inputs))
        batch = np.zeros((size, *inputs[0].shape), np.float32)
        batch[: len(inputs)] = inputs
        logits = self._engine.run("abinet", [batch]).tensors[-1]
        words = self._decode(logits[: len(inputs)])
        return [{"text": word.text, "confidence": word.confidence} for word in words]
