"""Times MindSpore, MindSpore Lite and ONNX Runtime on the fused graph: the same weights, one run.

Every engine at every number of threads is a process of its own. They take turns, round after round, so that
a machine whose speed drifts treats all alike; what is printed is the median over all rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import mindspore
import numpy as np
import onnx
from onnx_graph import build

from export import lite_environment
from export.bundle import REFERENCE, graph_file
from export.reference import tolerance
from models.abinet.abinet import ABINet
from models.abinet.config import NETWORKS
from models.checkpoints.checkpoint import Sidecar, read_parameters, save_checkpoint

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
MINDSPORE, LITE, ONNX = ENGINES = ("mindspore", "lite", "onnx")
BATCHES = (1, 4, 16)
THREADS = (1, 2)
IMAGES_A_TURN = 16


class Timing(NamedTuple):
    """One cell of the table; `ms_per_image` is a median."""

    network: str
    engine: str
    threads: int
    batch: int
    ms_per_image: float


class Process:
    """An engine, loaded and waiting for its turns."""

    def __init__(self, engine: str, threads: int, python: str, reference: Path, graphs: list[Path]) -> None:
        self._name = f"{engine} on {threads} threads"
        self._process = subprocess.Popen(
            [
                python,
                str(HERE / "engine_process.py"),
                engine,
                str(threads),
                str(reference),
                *map(str, graphs),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.release: str = self._answer()

    def ask(self, batch: int, calls: int) -> Any:
        assert self._process.stdin
        self._process.stdin.write(f"{Path(graph_file('abinet', batch)).stem} {batch} {calls}\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self._name} ended with exit code {self._process.wait()}")
        return json.loads(line)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "GLOG_v": "3"}


def prepare(network: str, folder: Path, lite_python: str) -> dict[str, Path]:
    """Random weights as two bundles and as ONNX graphs; returns the folder of each engine."""
    config = NETWORKS[network]
    mindspore.set_seed(1)
    checkpoint = folder / f"{network}.ckpt"
    save_checkpoint(ABINet(config), checkpoint, Sidecar(config))
    folders = {engine: folder / engine for engine in ENGINES}
    for engine, python in ((MINDSPORE, sys.executable), (LITE, lite_python)):
        sizes = ",".join(map(str, BATCHES))
        command = [python, "-m", "export", str(checkpoint), "--output", str(folders[engine])]
        subprocess.run(
            [*command, "--batch-sizes", sizes],
            check=True,
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
    folders[ONNX].mkdir()
    parameters = read_parameters(checkpoint)
    for batch in BATCHES:
        onnx.save(build(parameters, config, batch), graph_path(folders, ONNX, batch))
    return folders


def graph_path(folders: dict[str, Path], engine: str, batch: int) -> Path:
    path = folders[engine] / graph_file("abinet", batch)
    return path.with_suffix(".onnx") if engine == ONNX else path


def measure(network: str, rounds: int, lite_python: str) -> tuple[list[Timing], dict[str, str]]:
    """Times one network; also returns each engine's release. Stops if an engine's answer is wrong."""
    pythons = {MINDSPORE: sys.executable, LITE: lite_python, ONNX: sys.executable}
    processes: dict[tuple[str, int], Process] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = prepare(network, Path(temporary), lite_python)
        reference = folders[MINDSPORE] / REFERENCE
        with np.load(reference) as stored:
            allowed = tolerance(dict(stored))
        try:
            for engine in ENGINES:
                graphs = [graph_path(folders, engine, batch) for batch in BATCHES]
                for threads in THREADS:
                    process = Process(engine, threads, pythons[engine], reference, graphs)
                    processes[engine, threads] = process
                    for batch in BATCHES:
                        check(process, batch, allowed)
            timings = take_turns(network, processes, rounds)
        finally:
            for process in processes.values():
                process.stop()
    return timings, {engine: processes[engine, THREADS[0]].release for engine in ENGINES}


def check(process: Process, batch: int, allowed: float) -> None:
    """Raises ValueError if an engine computes something else than the network."""
    difference = process.ask(batch, calls=0)
    if not difference <= allowed:
        raise ValueError(f"{process.release} differs by {difference:.1e} from MindSpore at batch {batch}")


def take_turns(network: str, processes: dict[tuple[str, int], Process], rounds: int) -> list[Timing]:
    seconds: dict[tuple[str, int, int], list[float]] = {}
    for turn in range(rounds):
        for batch in BATCHES:
            for (engine, threads), process in processes.items():
                took = process.ask(batch, calls=max(2, IMAGES_A_TURN // batch))
                seconds.setdefault((engine, threads, batch), []).extend(took)
        print(f"{network}: round {turn + 1} of {rounds}", file=sys.stderr)
    return [
        Timing(network, *setting, 1000 * statistics.median(took) / setting[-1])
        for setting, took in seconds.items()
    ]


def print_table(network: str, timings: list[Timing], releases: dict[str, str]) -> None:
    ms = {(t.engine, t.threads, t.batch): t.ms_per_image for t in timings}
    widths = [len(releases[engine]) + 2 for engine in ENGINES]
    print(f"\n{network}, ms per image")
    names = "".join(f"{releases[engine]:>{width}}" for engine, width in zip(ENGINES, widths, strict=True))
    print(f"threads  batch{names}  MindSpore/Lite  Lite/ONNX Runtime")
    for threads in THREADS:
        for batch in BATCHES:
            of = [ms[engine, threads, batch] for engine in ENGINES]
            cells = "".join(f"{value:>{width}.1f}" for value, width in zip(of, widths, strict=True))
            print(f"{threads:>7}{batch:>7}{cells}{of[0] / of[1]:>16.2f}{of[1] / of[2]:>19.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "networks",
        nargs="*",
        default=["abinet_resnet45_en", "abinet_medium_en"],
        metavar="NETWORK",
        help=f"of {', '.join(NETWORKS)} (default: the paper's and the small one)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of every engine (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.networks) - set(NETWORKS))
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}")
    lite_python = str(lite_environment.make(PROJECT / lite_environment.DIRECTORY))
    everything = []
    for network in arguments.networks:
        timings, releases = measure(network, arguments.rounds, lite_python)
        everything += [{**timing._asdict(), "release": releases[timing.engine]} for timing in timings]
        if not arguments.json:
            print_table(network, timings, releases)
    if arguments.json:
        print(json.dumps(everything, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
