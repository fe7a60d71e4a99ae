"""The processes of the service that this one has started."""

import os
from collections.abc import Iterator
from pathlib import Path


def started(by: int | None = None) -> Iterator[tuple[int, str]]:
    """Process id and command line of each that this process, or another, has started, and so on."""
    pids = [os.getpid() if by is None else by]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += map(int, task.read_text().split())
    for pid in pids[1:]:
        yield pid, Path(f"/proc/{pid}/cmdline").read_text()


def processor_seconds() -> dict[str, float]:
    """What they have used so far, by what they do."""
    roles = {"service.image_decoding.process": "decoders", "service.engines.worker": "engine worker"}
    used: dict[str, float] = {}
    for pid, command in started():
        role = next((role for module, role in roles.items() if module in command), "front")
        used[role] = used.get(role, 0) + _processor_seconds(pid)
    return used


def all_processor_seconds(by: int) -> float:
    """What a process and all that it has started have used so far."""
    return _processor_seconds(by) + sum(_processor_seconds(pid) for pid, _ in started(by))


def front() -> int:
    """The process id of a front."""
    return next(pid for pid, command in started() if "service.fronts.process" in command)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
