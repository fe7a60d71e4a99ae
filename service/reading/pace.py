"""How long an engine takes: measured when its worker starts, and updated by its calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from service.engines.engine import Cost
from service.reading.batch_sizes import BatchSizes

_WEIGHT = 0.2
"""Weight of the latest call in the estimate of the next one."""
_LEAST_S = 1e-6


class Pace:
    """The graphs of one engine with their batch sizes, and the calls that are under way. Times are seconds.

    The estimate of a call is the cost of its graphs at their batch size, times the recent ratio of time to
    cost, plus the recent overhead: the way there and back, and calls of other fronts.
    """

    def __init__(self, costs: Sequence[Cost]) -> None:
        kinds = {cost.kind for cost in costs}
        self.sizes = {kind: BatchSizes(cost for cost in costs if cost.kind == kind) for kind in kinds}
        self._scales = dict.fromkeys(kinds, 1.0)
        self._on_top = 0.0
        self._under_way: deque[tuple[float, Mapping[str, float]]] = deque()
        self._begun = 0.0

    def call(self, kind: str, size: int, times: float = 1) -> float:
        """What a call is expected to take (see Engine.run)."""
        costs = self._parts(kind, size, times)
        return self._on_top + sum(seconds * self._scales[graph] for graph, seconds in costs.items())

    def batch(self, size: int, iterations: float) -> float:
        """What a batch is expected to take, from its images to the last of this many refinements."""
        return self.call("abinet", size) if "abinet" in self.sizes else self.call("read", size, iterations)

    def begin(self, kind: str, size: int, times: int, now: float) -> None:
        """Notes that a call begins after those that are under way."""
        if not self._under_way:
            self._begun = now
        self._under_way.append((self.call(kind, size, times), self._parts(kind, size, times)))

    def end(self, took: Mapping[str, float], now: float) -> None:
        """Notes that the first of the calls has ended, and what its graphs took: nothing if it failed."""
        _, costs = self._under_way.popleft()
        for graph, seconds in took.items():
            lately = seconds / max(costs.get(graph, 0.0), _LEAST_S)
            self._scales[graph] += _WEIGHT * (lately - self._scales[graph])
        if took:
            on_top = max(0.0, now - self._begun - sum(took.values()))
            self._on_top += _WEIGHT * (on_top - self._on_top)
        self._begun = now

    def left(self, now: float) -> float:
        """Seconds until all calls under way should have ended."""
        if not self._under_way:
            return 0.0
        first, *others = (seconds for seconds, _ in self._under_way)
        return max(0.0, first - (now - self._begun)) + sum(others)

    def _parts(self, kind: str, size: int, times: float) -> dict[str, float]:
        """What each graph of a call costs."""
        if kind == "read":
            sizes = self.sizes["refine"]
            # The worker may have compiled a size of vision, and this one of refinement not yet.
            refine = size if size in sizes.all else sizes.next(size)
            return {
                "vision": self.sizes["vision"].seconds[size],
                "refine": times * sizes.seconds[refine] * max(1.0, size / refine),
            }
        return {kind: self.sizes[kind].seconds[size] * (times if kind == "refine" else 1)}
