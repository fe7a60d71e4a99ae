"""MindSpore Lite 2.x: MindIR on CPU or Ascend."""

from __future__ import annotations

import mindspore_lite
import numpy as np

from service.engines.engine import EngineOptions, Run, Runtime


class LiteRuntime(Runtime):
    """Loads MindIR files into MindSpore Lite models that share one context."""

    package = "MindSpore Lite"
    release = mindspore_lite.__version__

    def __init__(self, options: EngineOptions) -> None:
        self._context = mindspore_lite.Context()
        self._context.target = [options.device]
        self._context.cpu.thread_num = options.threads
        if options.device == "ascend":
            self._context.ascend.device_id = options.device_id
            self._context.ascend.precision_mode = options.precision_mode

    def load(self, path: str) -> Run:
        model = mindspore_lite.Model()
        model.build_from_file(path, mindspore_lite.ModelType.MINDIR, self._context)
        inputs = model.get_inputs()

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            for tensor, array in zip(inputs, arrays):
                tensor.set_data_from_numpy(array)
            # The arrays that Lite hands out are its own memory, which the next predict overwrites.
            return [output.get_data_to_numpy().copy() for output in model.predict(inputs)]

        return run


def open_runtime(options: EngineOptions) -> LiteRuntime:
    return LiteRuntime(options)
