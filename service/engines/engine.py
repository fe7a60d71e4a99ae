"""What every engine offers: the graphs of one bundle at its batch sizes, each a function of NumPy arrays."""

from __future__ import annotations

import gc
import importlib
import time
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle, Graph, check_release
from service.engines.cores import bind_threads

Run = Callable[[List[Any]], List[Any]]
"""Runs a graph. Takes arrays and tensors of the same runtime, and gives tensors of it (see Runtime.array)."""
GraphKey = Tuple[str, int]
"""A graph's kind and its batch size."""

#: The module that runs each real engine's graphs.
RUNTIMES = {"mindspore": "service.engines.mindspore", "lite": "service.engines.mindspore_lite"}
ENGINES = (*RUNTIMES, "simulated")
KINDS = {"stepwise": ("vision", "refine"), "fused": ("abinet",)}
"""The graphs that a worker loads: vision and refinement, or the whole network as one."""
_MEASURED_RUNS = 3


class EngineOptions(NamedTuple):
    """How a worker runs a bundle.

    Ascend devices are counted from 0; `threads` is for the CPU. The worker is at `place` among `places` that
    share the CPU's cores (see service.engines.cores). `bind_threads` binds each of them to a core
    of its own, which helps only if nothing else uses these cores. A call of the simulated engine takes
    `simulated_ms`, and `simulated_ms_per_crop` for each crop of its batch.
    """

    engine: str = "mindspore"
    graph: str = "stepwise"
    threads: int = 2
    place: int = 0
    places: int = 1
    bind_threads: bool = False
    device: str = "cpu"
    device_id: int = 0
    precision_mode: str = "enforce_fp32"
    simulated_ms: float = 0.0
    simulated_ms_per_crop: float = 0.0


class Cost(NamedTuple):
    """Seconds that one graph takes for one batch, full or not."""

    kind: str
    batch: int
    seconds: float


class EngineAnswer(NamedTuple):
    """The tensors of a call, the seconds that each graph ran, and costs measured since the last call."""

    tensors: list[np.ndarray]
    took: dict[str, float]
    costs: Sequence[Cost] = ()

    @property
    def seconds(self) -> float:
        return sum(self.took.values())


class Runtime:
    """One of the libraries that run MindIR. Its module offers `open_runtime(options) -> Runtime`."""

    package: str
    release: str

    def load(self, path: str) -> Run:
        """Compiles one MindIR file. Raises RuntimeError if the library refuses it."""
        raise NotImplementedError

    def array(self, tensor: Any) -> np.ndarray:
        """The values that a graph gave. Many libraries give arrays."""
        array: np.ndarray = tensor
        return array


class Engine:
    """The graphs of one bundle, loaded and ready.

    Tensors are float32, their first axis a batch size that the bundle has. T is 26 steps, C 37 classes, D the
    number of features.
    Raises BundleError if a file has changed, is missing, or is of another MindSpore release.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        self._bundle = bundle
        self._options = options
        self._files: dict[GraphKey, Graph] = {}
        self._loaded: dict[GraphKey, Run] = {}
        self._runtime = _open_runtime(options)
        check_release(bundle, self._runtime.package, self._runtime.release)
        self.release = f"{self._runtime.package} {self._runtime.release}"
        for kind in KINDS[options.graph]:
            graphs = bundle.graphs_of(kind, compiled=options.engine == "lite" and options.device == "ascend")
            if not graphs:
                raise BundleError(f"{bundle.folder}: no {kind} graph; export the bundle again")
            bundle.check_hashes(graphs)
            self._files.update({(kind, graph.batch): graph for graph in graphs})

    def run(self, kind: str, tensors: list[np.ndarray], times: int = 1) -> EngineAnswer:
        """Runs a graph at the batch size of its tensors; refinement runs `times` times.

        vision: images (N,3,32,128), normalised -> logits (N,T,C), features (N,T,D). refine: logits (N,T,C),
        features (N,T,D) -> language and fused logits (N,T,C) of every iteration. read: images -> vision's
        logits, then those of `times` refinements: both graphs in one call. abinet: images -> the same logits
        from the fused graph, with all iterations.
        """
        batch, took, array = len(tensors[0]), {}, self._runtime.array
        started = time.perf_counter()
        outputs: list[np.ndarray] = []
        # What one graph hands to the next stays where it is, on an NPU in its memory.
        handed: list[Any] = tensors
        if kind == "read":
            handed = self._graph("vision", batch)(tensors)
            kind, outputs = "refine", [array(handed[0])]
            now = time.perf_counter()
            took["vision"], started = now - started, now
        for _ in range(times):
            given = self._graph(kind, batch)(handed)
            outputs += map(array, given)
            handed = [given[-1], handed[-1]]
        if times:
            took[kind] = time.perf_counter() - started
        return EngineAnswer(outputs, took)

    @property
    def is_on_cpu(self) -> bool:
        return self._options.device == "cpu"

    @property
    def may_compile_later(self) -> bool:
        """Whether a worker may be ready before all batch sizes are compiled.

        On a CPU a graph is loaded and compiled in 0.2 to 0.6 s, on Ascend in many more.
        """
        return self.is_on_cpu and not self._binds_threads

    @property
    def _binds_threads(self) -> bool:
        """Whether each thread that computes is bound to a core."""
        return self.is_on_cpu and self._options.bind_threads

    @property
    def graphs(self) -> list[GraphKey]:
        """The graphs that may be run, the largest batch sizes first."""
        return sorted(self._files, key=lambda graph: -graph[1])

    def warm_up(self, graphs: Sequence[GraphKey]) -> list[Cost]:
        """Runs these graphs, to compile them, to bind their threads to cores, and to measure their cost."""
        return [cost for costs in self.warming_up(graphs) for cost in costs]

    def warming_up(self, graphs: Sequence[GraphKey]) -> Iterator[list[Cost]]:
        """Warms up in steps of one run. A step yields no costs, except the last, which yields all.

        The cost is the least of a few runs. Batch sizes take turns, so that a busy moment does not hit only
        one.
        """
        runs = {graph: self._run_of_zeros(*graph) for graph in graphs}
        for run in runs.values():
            run()
            yield []
        if self._binds_threads:
            bind_threads(runs.values())
        least = dict.fromkeys(runs, float("inf"))
        for _ in range(_MEASURED_RUNS):
            for graph, run in runs.items():
                started = time.perf_counter()
                run()
                least[graph] = min(least[graph], time.perf_counter() - started)
                yield []
        yield [Cost(kind, batch, seconds) for (kind, batch), seconds in least.items()]

    def _graph(self, kind: str, batch: int) -> Run:
        if (kind, batch) not in self._loaded:
            self._loaded[kind, batch] = self._load(kind, batch)
        return self._loaded[kind, batch]

    def _load(self, kind: str, batch: int) -> Run:
        graph = self._files[kind, batch]
        # Again, because it may be long after the start, and somebody may have written into the file.
        self._bundle.check_hashes([graph])
        try:
            return self._runtime.load(graph.path)
        except RuntimeError as error:
            raise BundleError(
                f"{graph.path}: {self.release} refuses it: {_first_line(error)}{_remedy(self._options)}"
            ) from error

    def _run_of_zeros(self, kind: str, batch: int) -> Callable[[], object]:
        tensors = [np.zeros((batch, *shape), np.float32) for shape in self._bundle.input_shapes(kind)]
        return lambda: self.run(kind, tensors)


def described(costs: Iterable[Cost]) -> str:
    """What batches cost, in a line."""
    return ", ".join(f"{cost.kind} of {cost.batch} {1e3 * cost.seconds:.1f} ms" for cost in sorted(costs))


def open_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    """The engine that the options name. Raises BundleError (see Engine)."""
    if options.engine == "simulated":
        from service.engines.simulated import SimulatedEngine

        return SimulatedEngine(bundle, options)
    return Engine(bundle, options)


def _open_runtime(options: EngineOptions) -> Runtime:
    gc.disable()  # an import of MindSpore leaves no garbage, and looking for it takes a tenth of the time
    try:
        module = importlib.import_module(RUNTIMES[options.engine])
    except ImportError as error:
        raise BundleError(
            f"the {options.engine} engine cannot start: {error}; "
            "install what is missing or give a --worker-python that has it"
        ) from error
    finally:
        gc.enable()
    try:
        runtime: Runtime = module.open_runtime(options)
    except RuntimeError as error:
        raise BundleError(
            f"the {options.engine} engine cannot use this device: {_first_line(error)}{_remedy(options)}"
        ) from error
    return runtime


def _first_line(error: RuntimeError) -> str:
    """The first sentence of an error, because MindSpore's errors fill screens."""
    return str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".")


def _remedy(options: EngineOptions) -> str:
    if options.device == "cpu":
        return ""
    return (
        "; for an Ascend NPU install its driver and CANN and source CANN's set_env.sh, "
        "or serve with --devices cpu (`abinet doctor` says more)"
    )
