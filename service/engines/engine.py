"""What every engine offers: the graphs of one bundle at its batch sizes, each a function of NumPy arrays."""

from __future__ import annotations

import importlib
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from service.engines.bundle import Bundle, BundleError, check_release

Run = Callable[[List[np.ndarray]], List[np.ndarray]]

ENGINES = ("mindspore", "lite")
KINDS = {"stepwise": ("vision", "refine"), "fused": ("abinet",)}
"""Which graphs a worker loads: vision and refinement apart, or the whole network as one."""


class EngineOptions(NamedTuple):
    """How a worker runs a bundle. Ascend devices are counted from 0; `threads` is for the CPU."""

    engine: str = "mindspore"
    graph: str = "stepwise"
    threads: int = 2
    device: str = "cpu"
    device_id: int = 0
    precision_mode: str = "enforce_fp32"


class Runtime:
    """One of the libraries that run MindIR. Its module offers `open_runtime(options) -> Runtime`."""

    package: str
    release: str

    def load(self, path: str) -> Run:
        """Compiles one MindIR file. Raises RuntimeError where the library refuses it."""
        raise NotImplementedError


class Engine:
    """The graphs of one bundle, loaded and ready.

    Arrays are float32 and their first axis is one of `batch_sizes`. T is 26 steps, C 37 classes, D features.
    Raises BundleError where a file has changed, is missing, or is of another MindSpore release.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        runtime = _open_runtime(options)
        check_release(bundle, runtime.package, runtime.release)
        self.release = "{} {}".format(runtime.package, runtime.release)
        self._graphs: Dict[Tuple[str, int], Run] = {}
        for kind in KINDS[options.graph]:
            graphs = bundle.graphs_of(kind)
            if not graphs:
                raise BundleError("{}: no {} graph; export the bundle again".format(bundle.folder, kind))
            bundle.check_hashes(graphs)
            for graph in graphs:
                try:
                    self._graphs[kind, graph.batch] = runtime.load(graph.path)
                except RuntimeError as error:
                    reason = str(error).strip().splitlines()[0]
                    raise BundleError("{}: {} refuses it: {}".format(graph.path, self.release, reason)) from error

    @property
    def batch_sizes(self) -> List[int]:
        """Batch sizes at which every loaded kind of graph can run, smallest first."""
        kinds = {kind for kind, _ in self._graphs}
        sizes = {batch for _, batch in self._graphs}
        return sorted(batch for batch in sizes if all((kind, batch) in self._graphs for kind in kinds))

    def vision(self, images: np.ndarray) -> List[np.ndarray]:
        """Images (N,3,32,128), normalised -> logits (N,T,C) and features (N,T,D) of the vision model."""
        return self._graphs["vision", len(images)]([images])

    def refine(self, logits: np.ndarray, features: np.ndarray) -> List[np.ndarray]:
        """One iteration: logits (N,T,C) so far, vision features (N,T,D) -> language and fused logits (N,T,C)."""
        return self._graphs["refine", len(logits)]([logits, features])

    def fused(self, images: np.ndarray) -> List[np.ndarray]:
        """Images (N,3,32,128) -> vision logits, then language and fused logits of every iteration, each (N,T,C)."""
        return self._graphs["abinet", len(images)]([images])


def _open_runtime(options: EngineOptions) -> Runtime:
    try:
        module = importlib.import_module("service.engines." + options.engine)
    except ImportError as error:
        raise BundleError(
            "the {} engine cannot start: {}; install it or give a --worker-python that has it".format(
                options.engine, error
            )
        ) from error
    runtime: Runtime = module.open_runtime(options)
    return runtime
