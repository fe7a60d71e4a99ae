"""Which of a graph's fixed batch sizes to run next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from service.engines.engine import Cost

#: By how much one call may raise the cost of a batch size: one bad moment must not decide.
_RISE = 1.25
#: By how much the assumed cost of a batch size falls with each call of another one, so that it is tried
#: again.
_DOUBT = 0.998
#: The plan is made again if a cost has changed by this much.
_STALE = 1.02


BatchCosts = Mapping[str, Mapping[int, float]]
"""For each graph, the seconds that a call takes, by batch size."""


def in_milliseconds(costs: BatchCosts) -> dict[str, dict[int, float]]:
    """For people and JSON."""
    return {kind: {size: round(1e3 * s, 3) for size, s in sizes.items()} for kind, sizes in costs.items()}


class BatchSizes:
    """The batch sizes of one graph and what a call at each costs, as measured with every call.

    For seven waiting crops and the sizes 1, 4 and 16, it takes a batch of four and three single crops, or one
    of sixteen with nine rows of padding, whichever takes less time in all.
    """

    def __init__(self, costs: Iterable[Cost]) -> None:
        self._least = {cost.batch: cost.seconds for cost in costs}
        self._doubts = dict.fromkeys(self._least, 1.0)
        self.all = set(self._least)
        self.largest = max(self._least)
        self.seconds = dict(self._least)
        """The present estimate of what a call at each batch size costs."""
        self._plan = self._planned()

    def next(self, waiting: int) -> int:
        """The batch size to run now, when `waiting` crops (at least one) want this graph."""
        return self._plan[min(waiting, self.largest)]

    def note(self, size: int, seconds: float) -> None:
        """Notes how long a call at this batch size took.

        The cost of a size is the least of its calls; a call counts a little less with every later one.
        """
        for other in self._doubts:
            self._doubts[other] *= _DOUBT
        self._doubts[size] = 1.0
        self._least[size] = min(seconds, _RISE * self._least[size])
        self.seconds = {other: least * self._doubts[other] for other, least in self._least.items()}
        planned_with = self._planned_with
        if any(not 1 / _STALE < now / planned_with[other] < _STALE for other, now in self.seconds.items()):
            self._plan = self._planned()

    def add(self, size: int, seconds: float) -> None:
        """Takes in a batch size that has been measured only now."""
        self._least[size], self._doubts[size] = seconds, 1.0
        self.all.add(size)
        self.largest = max(self.all)
        self.seconds = {**self.seconds, size: seconds}
        self._plan = self._planned()

    def _planned(self) -> list[int]:
        """For each number of crops, the size of the first batch so that all crops take least time; of equal
        ones, the largest.
        """
        costs = self._planned_with = self.seconds
        least, first = [0.0], [0]
        for crops in range(1, self.largest + 1):
            total, size = min(
                ((seconds + least[max(0, crops - size)], size) for size, seconds in costs.items()),
                key=lambda plan: (plan[0], -plan[1]),
            )
            least.append(total)
            first.append(size)
        return first
