"""MindSpore itself: MindIR files loaded as graph cells, in graph mode, on CPU or Ascend."""

from __future__ import annotations

from typing import Any

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

        def run(inputs: list[Any]) -> list[Any]:
            return list(cell(*map(_tensor, inputs)))

        return run

    def array(self, tensor: Any) -> np.ndarray:
        array: np.ndarray = tensor.asnumpy()
        return array


def _tensor(value: Any) -> Any:
    return mindspore.Tensor(value) if isinstance(value, np.ndarray) else value


def open_runtime(options: EngineOptions) -> MindSporeRuntime:
    return MindSporeRuntime(options)
