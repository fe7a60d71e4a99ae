"""An engine that computes nothing: a call takes a stated time and always gives the same word.

It shows what the service itself can do, with the same worker process, shared memory and batch sizes.
"""

from __future__ import annotations

import time

import numpy as np

from service.engines.bundle import Bundle
from service.engines.engine import KINDS, Engine, EngineOptions, Run, Runtime

TEXT = "simulated"
_SURE = 20.0


class SimulatedEngine(Engine):
    """Sleeps for `simulated_ms`, and `simulated_ms_per_crop` for each row of the batch; uses no CPU.

    It reads `TEXT` in every image, as far as the bundle's charset and length allow. A bundle of any release
    will do, because only the hashes of its graphs are checked.
    """

    release = "simulated engine"
    may_compile_later = False
    _binds_threads = False
    _runtime = Runtime()

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        self._bundle = bundle
        self._options = options
        self._files, self._loaded = {}, {}
        for kind in KINDS[options.graph]:
            bundle.check_hashes(bundle.graphs_of(kind))
            self._files.update({(kind, graph.batch): graph for graph in bundle.graphs_of(kind)})

    def _load(self, kind: str, batch: int) -> Run:
        bundle = self._bundle
        seconds = (self._options.simulated_ms + self._options.simulated_ms_per_crop * batch) / 1e3
        logits = np.broadcast_to(_logits(bundle), (batch, bundle.steps, bundle.classes))
        features = np.zeros((batch, bundle.steps, bundle.features), np.float32)
        outputs = {
            "vision": [logits, features],
            "refine": [logits, logits],
            "abinet": [logits] * (1 + 2 * bundle.iterations),
        }[kind]

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            if seconds:
                time.sleep(seconds)
            return list(outputs)

        return run


def _logits(bundle: Bundle) -> np.ndarray:
    """Logits (T, C) that spell the text and stop."""
    classes = [1 + bundle.charset.index(character) for character in TEXT if character in bundle.charset]
    classes = classes[: bundle.steps - 1]
    logits = np.zeros((bundle.steps, bundle.classes), np.float32)
    logits[:, 0] = _SURE
    logits[np.arange(len(classes)), 0] = 0.0
    logits[np.arange(len(classes)), classes] = _SURE
    return logits
