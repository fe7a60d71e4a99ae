"""MindSpore itself: MindIR files loaded as graph cells, in graph mode, on CPU or Ascend."""

from __future__ import annotations

import mindspore
import numpy as np
from mindspore import nn

from service.engines.engine import EngineOptions, Run, Runtime


class MindSporeRuntime(Runtime):
    """Loads MindIR files into graph cells of this process's MindSpore context."""

    package = "MindSpore"
    release = mindspore.__version__

    def __init__(self, options: EngineOptions) -> None:
        device = {"cpu": "CPU", "ascend": "Ascend"}[options.device]
        mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target=device, device_id=options.device_id)
        if options.device == "cpu":
            mindspore.set_context(runtime_num_threads=options.threads)

    def load(self, path: str) -> Run:
        cell = nn.GraphCell(mindspore.load(path))

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            outputs = cell(*[mindspore.Tensor(array) for array in arrays])
            return [output.asnumpy() for output in outputs]

        return run


def open_runtime(options: EngineOptions) -> MindSporeRuntime:
    return MindSporeRuntime(options)
