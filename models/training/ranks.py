"""The processes of one training: how they exchange values, and end if one of them has ended."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: Of one broadcast, int32: 16 MB.
CHUNK = 1 << 22
#: If a process has been gone for longer than ``GRACE_SECONDS``, the training has not ended normally.
POLL_SECONDS, GRACE_SECONDS = 1.0, 10.0
PEER_ENDED = 4


class Ranks:
    """``count`` processes, of which this one is number ``rank``; by default one alone. ``here`` of them share
    this machine.

    Rank 0 is the first: only it reads and writes the training's folder, and the others get their values from
    it. All processes must call every method.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count, self.here = rank, count, count

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def of_first(self, value: Any) -> Any:
        """The first process's ``value``, which JSON can represent."""
        return self._of(0, value)

    def of_all(self, value: Any) -> list[Any]:
        """The value of every process, in their order."""
        return [self._of(rank, value) for rank in range(self.count)]

    def arrays_of_first(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The first process's arrays by name; those of the others do not matter."""
        if self.count == 1:
            return dict(arrays)
        file = io.BytesIO()
        if self.first:
            np.savez(file, **dict(arrays))
        with np.load(io.BytesIO(self._bytes(0, file.getvalue()))) as told:
            return {name: told[name] for name in told.files}

    def _of(self, rank: int, value: Any) -> Any:
        if self.count == 1:
            return value
        return json.loads(self._bytes(rank, json.dumps(value).encode() if rank == self.rank else b""))

    def _bytes(self, rank: int, data: bytes) -> bytes:
        from mindspore import Tensor, ops

        def told(words: np.ndarray) -> np.ndarray:
            (answer,) = ops.Broadcast(rank)((Tensor(words),))
            return np.asarray(answer.asnumpy())

        count = int(told(np.array([len(data)], np.int32))[0])
        padded = np.zeros(-(-count // 4), np.int32)
        if rank == self.rank:
            padded.view(np.uint8)[:count] = np.frombuffer(data, np.uint8)
        parts = [told(padded[first : first + CHUNK]) for first in range(0, len(padded), CHUNK)]
        return np.concatenate([*parts, np.empty(0, np.int32)]).tobytes()[:count]


class Process(NamedTuple):
    """A process on a machine; ``started`` tells it from a later one of the same number."""

    host: str
    pid: int
    started: str

    @property
    def runs(self) -> bool:
        return _started(self.pid) == self.started


def this_process() -> Process:
    return Process(socket.gethostname(), os.getpid(), _started(os.getpid()))


def _started(pid: int) -> str:
    """When a process started, in ticks of the machine; empty if there is none, or only its exit code."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def watch(processes: Sequence[Process]) -> None:
    """Ends this process when another one of the training on this machine has ended before it.

    Otherwise it would wait in its next AllReduce for as long as the communication library does: half an hour
    with HCCL, for ever with MindSpore's own.
    """
    here = this_process()
    others = [(rank, p) for rank, p in enumerate(processes) if p.host == here.host and p != here and p.runs]

    def look() -> None:
        while True:
            time.sleep(POLL_SECONDS)
            gone = [rank for rank, process in others if not process.runs]
            if gone:
                time.sleep(GRACE_SECONDS)  # when a training ends, its processes end one after another
                print(
                    f"abinet: process {gone[0]} of {len(processes)} has ended, and this one with it; start"
                    " the training again, and it goes on from its last validation",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(PEER_ENDED)

    threading.Thread(target=look, name="watch", daemon=True).start()


def join() -> Ranks:
    """Joins the processes that ``msrun`` started, for data-parallel training in MindSpore.

    Raises:
        ValueError: msrun has not started this one.
    """
    import mindspore as ms
    from mindspore import communication

    if "MS_ROLE" not in os.environ and "RANK_ID" not in os.environ:
        raise ValueError(
            "system.distribute is true, so start the training with msrun: msrun --worker_num=N"
            " --local_worker_num=N $(which abinet) train ...; or set it to false"
        )
    ms.set_context(mode=ms.GRAPH_MODE)
    communication.init("mccl" if ms.get_context("device_target") == "CPU" else None)
    ranks = Ranks(communication.get_rank(), communication.get_group_size())
    ms.set_auto_parallel_context(
        parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=ranks.count
    )
    processes = [Process(*told) for told in ranks.of_all(this_process())]
    ranks.here = sum(process.host == socket.gethostname() for process in processes)
    watch(processes)
    return ranks
