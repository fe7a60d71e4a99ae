"""Checks the machine, the front's interpreter, the address, and the libraries that engines need."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from service.doctor.check import Check
from service.doctor.failures import remedy_for
from service.engines.process import module_command
from service.http.listener import listening
from service.settings.model import Settings

_LITTLE_MEMORY = 2 << 30
_IMPORT_TIMEOUT_S = 120.0
_LITE_PYTHON = Path(".venv-lite/bin/python")
"""The interpreter of the Python 3.7 environment that the project makes for MindSpore Lite."""


class Probe(NamedTuple):
    """The result of an import: the versions, or the message of its failure."""

    version: str
    python: str
    failure: str = ""


def machine_checks() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0))
    yield Check("cores", "ok", f"{cores} of {os.cpu_count()}, {platform.machine()}")
    memory = _available_memory()
    found = f"{memory / 2**30:.1f} GiB free"
    if memory < _LITTLE_MEMORY:
        yield Check("memory", "warning", found, "a MindSpore worker needs a gigabyte or two: free some")
    else:
        yield Check("memory", "ok", found)
    yield Check("front", "ok", f"Python {platform.python_version()}, {sys.executable}")


def address_check(settings: Settings) -> Check:
    """Checks that the service could listen at its address now."""
    place = str(settings.uds) if settings.uds else f"{settings.host}:{settings.port}"
    try:
        with listening(settings):
            return Check("address", "ok", f"{place} is free")
    except ValueError as error:
        return Check("address", "failed", str(error), "stop what listens there, or choose another")


def library_checks(settings: Settings) -> Iterator[Check]:
    """Checks MindSpore and MindSpore Lite, each imported by the interpreter that would run it."""
    yield _mindspore(settings)
    yield _lite(settings)


def _mindspore(settings: Settings) -> Check:
    needed = settings.engine == "mindspore"
    python = settings.worker_python if needed else sys.executable
    probe = probe_import(python, "mindspore")
    remedy = "install mindspore==2.8.0 there, or give a --worker-python that has it"
    if probe.failure:
        return _failed("MindSpore", needed, python, probe, remedy)
    found = f"{probe.version} on Python {probe.python}, {python}"
    if probe.version.split(".")[:2] in (["2", "9"], ["2", "10"]):
        slow = "; its convolutions on CPU are 40 times slower than those of 2.8"
        return Check("MindSpore", "warning", found + slow, "install mindspore==2.8.0")
    return Check("MindSpore", "ok", found)


def _lite(settings: Settings) -> Check:
    needed = settings.engine == "lite"
    python = settings.worker_python if needed or not _LITE_PYTHON.exists() else str(_LITE_PYTHON)
    probe = probe_import(python, "mindspore_lite")
    remedy = "make an environment with `python -m export.lite_environment`, or install the vendor's wheel"
    if probe.failure:
        return _failed("MindSpore Lite", needed, python, probe, remedy)
    return Check("MindSpore Lite", "ok", f"{probe.version} on Python {probe.python}, {python}")


def _failed(name: str, needed: bool, python: str, probe: Probe, remedy: str) -> Check:
    absent = "No module named 'mindspore" in probe.failure
    found = f"not installed for {python}" if absent else f"{python}: {probe.failure}"
    if not absent:
        remedy = remedy_for(probe.failure) or remedy
    return Check(name, "failed" if needed else "missing", found, remedy)


def probe_import(python: str, package: str) -> Probe:
    """Imports a package in an interpreter of its own, which may crash or hang."""
    if shutil.which(python) is None:
        return Probe("", "", "not a Python that can run")
    command = [*module_command(python, "service.engines.probe"), package]
    try:
        told = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
            env={"GLOG_v": "3", **os.environ},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe("", "", f"the import gave no answer: {error}")
    if told.returncode:
        end = f"was ended by signal {-told.returncode}" if told.returncode < 0 else "says nothing"
        return Probe("", "", (told.stderr.strip().splitlines() or [f"the import {end}"])[-1])
    try:
        return Probe(**json.loads(told.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        return Probe("", "", "not a Python that can run the engine worker")


def _available_memory() -> int:
    """Bytes that may still be taken, in the machine and in this container."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = 1024 * int(line.split()[1])
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, int(limit) - used)
