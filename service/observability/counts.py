"""The numbers behind counters and histograms, in memory that outlives the process that counts.

If a front is killed, its counts stay: its manager has the same memory, the other fronts read it, and the
front that replaces it goes on counting in it.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Sequence

Labels = tuple[str | int, ...]

_BYTES = 1 << 20
_FIRST_NAME, _FIRST_CELL = 8, 1 << 18
_WIDEST = 64


def new_counts() -> int:
    """The descriptor of a file in memory, for `Counts` in every process that gets it."""
    descriptor = os.memfd_create("abinet-counts")
    os.ftruncate(descriptor, _BYTES)
    return descriptor


class Counts:
    """Numbers by metric and labels: the cells of a series lie side by side.

    One process writes at a time; others may read meanwhile. The names of the series are lines of JSON before
    the cells. A line counts once the total length, in the first 8 bytes, includes it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Counts in the file of `new_counts`, or for this process alone."""
        memory = memoryview(mmap.mmap(-1 if descriptor is None else descriptor, _BYTES))
        self._length = memory[:_FIRST_NAME].cast("Q")
        self._names = memory[_FIRST_NAME:_FIRST_CELL]
        self.cells: memoryview[float] = memory[_FIRST_CELL:].cast("d")
        self._places: dict[tuple[str, Labels], tuple[int, int]] = {}
        self._read = 0
        self._used = 0
        self._look()

    def place(self, metric: str, labels: Labels, width: int) -> int:
        """The place where the cells of this series begin. Series for which there is no room are not kept."""
        found = self._places.get((metric, labels))
        if found is not None:
            return found[0]
        line = json.dumps([metric, labels, width]).encode() + b"\n"
        end = self._read + len(line)
        if end > len(self._names) or self._used + width > len(self.cells) - _WIDEST:
            return len(self.cells) - _WIDEST
        self._names[self._read : end] = line
        self._length[0] = end
        self._look()
        return self._used - width

    def series(self, metric: str) -> Iterator[tuple[Labels, list[float]]]:
        """All series of a metric, with their cells."""
        self._look()
        for (name, labels), (place, width) in self._places.items():
            if name == metric:
                yield labels, list(self.cells[place : place + width])

    def _look(self) -> None:
        """Reads the names that have been written since the last look."""
        lines = bytes(self._names[self._read : self._length[0]])
        for line in lines.splitlines(keepends=True):
            try:
                metric, labels, width = json.loads(line)
            except ValueError:  # this processor saw the length before the line: read it next time
                return
            self._places[metric, tuple(labels)] = (self._used, width)
            self._used += width
            self._read += len(line)


def totals(counts: Sequence[Counts], metric: str) -> dict[Labels, list[float]]:
    """The series of a metric, added up over the processes that count it."""
    added: dict[Labels, list[float]] = {}
    for one in counts:
        for labels, cells in one.series(metric):
            before = added.get(labels)
            added[labels] = cells if before is None else [a + b for a, b in zip(before, cells, strict=True)]
    return added
