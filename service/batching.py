"""Which of a graph's fixed batch sizes to run next."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from service.engines.engine import Cost


class BatchSizes:
    """The batch sizes of one graph and what a call at each costs, as measured.

    Seven crops waiting, with sizes 1, 4 and 16: four and three single ones, or sixteen with nine rows of
    padding, whichever takes less time in all.
    """

    def __init__(self, costs: Iterable[Cost]) -> None:
        self._seconds = {cost.batch: cost.seconds for cost in costs}
        self.all = set(self._seconds)
        self.largest = max(self._seconds)
        self._plan = cache(self._cheapest)

    def next(self, waiting: int) -> int:
        """The batch size to run now, when `waiting` crops (at least one) want this graph."""
        _, size = self._plan(min(waiting, self.largest))
        return size

    def _cheapest(self, crops: int) -> tuple[float, int]:
        """Least seconds for this many crops, and the size to begin with: among equals the largest."""
        if crops <= 0:
            return 0.0, 0
        return min(
            ((seconds + self._plan(crops - size)[0], size) for size, seconds in self._seconds.items()),
            key=lambda plan: (plan[0], -plan[1]),
        )
