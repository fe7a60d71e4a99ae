"""The processes of the service that this one has started."""

import os
from collections.abc import Iterator
from pathlib import Path


def started() -> Iterator[tuple[int, str]]:
    """Process id and command line of each, and of all that those have started."""
    pids = [os.getpid()]
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
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        used[role] = used.get(role, 0) + ticks / os.sysconf("SC_CLK_TCK")
    return used


def front() -> int:
    """The process id of a front."""
    return next(pid for pid, command in started() if "service.fronts.process" in command)
