"""One engine at one number of threads: `engine_process.py ENGINE THREADS REFERENCE GRAPH_FILE...`.

Loads the graphs and prints its name and release. Then it answers a line "GRAPH BATCH CALLS" with the seconds
of every call, or for no calls with the largest difference of one from the reference (a bundle's
reference.npz). Answers are JSON. It runs on Python 3.7 too, where MindSpore Lite is.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import List

import numpy as np

from service.engines.engine import RUNTIMES, EngineOptions, Run, Runtime


class OnnxRuntime(Runtime):
    """ONNX Runtime on CPU, with its own defaults except for the number of threads."""

    package = "ONNX Runtime"

    def __init__(self, options: EngineOptions) -> None:
        import onnxruntime

        self.release = onnxruntime.__version__
        self._library = onnxruntime
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = options.threads

    def load(self, path: str) -> Run:
        session = self._library.InferenceSession(path, self._options, providers=["CPUExecutionProvider"])

        def run(arrays: List[np.ndarray]) -> List[np.ndarray]:
            outputs: List[np.ndarray] = session.run(None, {"images": arrays[0]})
            return outputs

        return run


def open_runtime(options: EngineOptions) -> Runtime:
    if options.engine == "onnx":
        return OnnxRuntime(options)
    module = importlib.import_module(RUNTIMES[options.engine])
    runtime: Runtime = module.open_runtime(options)
    return runtime


def seconds(run: Run, images: np.ndarray, calls: int) -> List[float]:
    """How long each call takes, after one that is not counted."""
    times = []
    for _ in range(calls + 1):
        start = time.perf_counter()
        run([images])
        times.append(time.perf_counter() - start)
    return times[1:]


def largest_difference(run: Run, images: np.ndarray, outputs: np.ndarray) -> float:
    return max(float(np.abs(got - want).max()) for got, want in zip(run([images]), outputs))


def main() -> None:
    engine, threads, reference_path = sys.argv[1:4]
    # MindSpore computes on every core it may use, whatever number of threads it is told.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    files = [Path(name) for name in sys.argv[4:]]
    with np.load(reference_path) as stored:
        images, outputs = stored["images"], stored["outputs"]
    runtime = open_runtime(EngineOptions(engine=engine, threads=int(threads)))
    runs = {path.stem: runtime.load(str(path)) for path in files}
    print(json.dumps(f"{runtime.package} {runtime.release}"), flush=True)
    for line in sys.stdin:
        graph, batch, calls = line.split()
        rows = np.arange(int(batch)) % len(images)
        answer: object = (
            seconds(runs[graph], images[rows], int(calls))
            if int(calls)
            else largest_difference(runs[graph], images[rows], outputs[:, rows])
        )
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
