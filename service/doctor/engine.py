"""Checks the bundle and its engine: loads it and reads one crop on each device."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from service.bundle_format.manifest import BundleError
from service.bundled import bundled_model
from service.doctor.check import Check
from service.doctor.failures import remedy_for
from service.engines.bundle import Bundle
from service.engines.connection import EngineError
from service.engines.engine import KINDS, EngineOptions, described
from service.engines.process import EngineProcess
from service.settings.model import Settings
from service.workers.shared_memory import free_bytes, needed_bytes

_LOAD_TIMEOUT_S = 300.0


def engine_checks(settings: Settings) -> Iterator[Check]:
    """Checks the bundle, then every device once; stops after a failure, because the rest depends on it."""
    try:
        folder = settings.bundle or bundled_model(settings.worker_python)
        bundle = Bundle(str(folder))
        bundle.check_hashes(bundle.graphs)
    except ValueError as error:
        yield Check("bundle", "failed", str(error), remedy_for(str(error)) or "see `abinet export --help`")
        return
    yield Check("bundle", "ok", _description(bundle))
    yield _shared_memory(bundle, settings)
    for device, options in dict(zip(settings.engine_devices, settings.engine_options(), strict=True)).items():
        yield _engine(bundle, device, options, settings.worker_python)


def _description(bundle: Bundle) -> str:
    release, version = bundle.exporter["mindspore"], bundle.exporter.get("mind_ir_version")
    sizes = ", ".join(map(str, sorted({graph.batch for graph in bundle.graphs})))
    compiled = " and compiled for Ascend" if bundle.manifest.get("ascend", {}).get("graphs") else ""
    return (
        f"{bundle.name} {bundle.version}, written by MindSpore {release} (MindIR version {version}), "
        f"batch sizes {sizes}{compiled}; hashes right"
    )


def _shared_memory(bundle: Bundle, settings: Settings) -> Check:
    need, free = needed_bytes(bundle, settings), free_bytes()
    if free is None:
        return Check("shared memory", "ok", "in files, without /dev/shm")
    found = f"{free / 2**20:.0f} MiB of /dev/shm free, {need / 2**20:.1f} needed"
    if free < need:
        return Check("shared memory", "failed", found, "give the container more with --shm-size")
    return Check("shared memory", "ok", found)


def _engine(bundle: Bundle, device: str, options: EngineOptions, python: str) -> Check:
    name = f"engine on {device}"
    with _worker_output() as output:
        try:
            started = time.perf_counter()
            worker = EngineProcess(bundle, options, python)
        except BundleError as error:
            return Check(name, "failed", str(error), remedy_for(str(error)))
        try:
            loaded = worker.load(_LOAD_TIMEOUT_S)
            ready_s = time.perf_counter() - started
            seconds = _one_crop(worker, bundle, options)
        except (BundleError, EngineError) as error:
            said = output.read_text(encoding="utf-8", errors="replace")
            last = (said.strip().splitlines() or [""])[-1]
            # A line of a C++ log helps nobody, so the remedy says what it means.
            tells = last and last not in str(error) and not last.startswith("[")
            found = f"{error}; {last}" if tells else str(error)
            return Check(name, "failed", found, remedy_for(f"{error}\n{said}"))
        finally:
            worker.kill()
    found = f"{loaded.release}, ready after {ready_s:.1f} s, read a crop in {1e3 * seconds:.1f} ms"
    return Check(name, "ok", f"{found}; batches: {described(loaded.costs)}")


def _one_crop(worker: EngineProcess, bundle: Bundle, options: EngineOptions) -> float:
    """Seconds of the engine for one crop and one iteration. Raises EngineError if they are not finite."""
    batch = min(graph.batch for graph in bundle.graphs)
    tensors = [np.zeros((batch, bundle.channels, bundle.height, bundle.width), np.float32)]
    seconds = 0.0
    for kind in KINDS[options.graph]:
        answer = worker.run(kind, tensors)
        tensors, seconds = answer.tensors, seconds + answer.seconds
        if not all(np.isfinite(tensor).all() for tensor in tensors):
            raise EngineError(f"the {kind} graph gives numbers that are not finite")
    return seconds


@contextmanager
def _worker_output() -> Iterator[Path]:
    """A file that gets the terminal output of workers that start meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output"
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with open(path, "wb") as file:
                os.dup2(file.fileno(), 2)
            yield path
        finally:
            os.dup2(kept, 2)
            os.close(kept)
