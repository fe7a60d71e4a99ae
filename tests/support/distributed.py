"""Trainings of several processes, started as `msrun` starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.processes import child_pids

PROGRAM = Path(__file__).with_name("tiny_training.py")
#: No two of the same machine at once: each has an address of its own.
_ports = iter(range(20000 + os.getpid() % 10000, 65536))


@contextmanager
def msrun(count: int, logs: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`tiny_training.py` with these arguments in ``count`` processes, which are gone afterwards."""
    program = Path(sys.executable).with_name("msrun")
    process = subprocess.Popen(
        [program, f"--worker_num={count}", f"--local_worker_num={count}", f"--master_port={next(_ports)}",
         "--join=True", "--bind_core=True", f"--log_dir={logs}", PROGRAM, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        # It starts what is called python.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
             "PATH": f"{program.parent}:{os.environ['PATH']}", **environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run(count: int, logs: Path, *arguments: str, **environment: str) -> int:
    """The exit code of such a training."""
    with msrun(count, logs, *arguments, **environment) as process:
        process.communicate(timeout=300)
        return process.returncode


def workers(msrun: int) -> list[int]:
    """The processes that train."""
    return [pid for pid in child_pids(msrun) if b"MS_ROLE=MS_WORKER" in _environment(pid)]


def runs(pid: int) -> bool:
    """Whether a process is more than its exit code."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _environment(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def said(logs: Path, rank: int) -> str:
    """What one process has printed."""
    return (logs / f"worker_{rank}.log").read_text(errors="replace")


def wait_for(logs: Path, rank: int, text: str, seconds: float = 120) -> None:
    """Until a process has printed ``text``."""
    deadline = time.monotonic() + seconds
    while text not in (said(logs, rank) if (logs / f"worker_{rank}.log").exists() else ""):
        assert time.monotonic() < deadline, f"process {rank} has not printed {text!r}"
        time.sleep(0.2)
