"""Crops that wait for their first batch, in the order in which they are due."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, Protocol, TypeVar


class HasDue(Protocol):
    due: float


Item = TypeVar("Item", bound=HasDue)


class DueQueue(Generic[Item]):
    """A queue that gives out the item that is due first; among equals, the first that came."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Item]:
        return (item for _, _, item in self._heap)

    def add(self, item: Item) -> None:
        heapq.heappush(self._heap, (item.due, next(self._numbers), item))

    def pop(self) -> Item:
        return heapq.heappop(self._heap)[2]

    def before(self, due: float) -> int:
        """How many items are due no later than this."""
        return sum(other <= due for other, _, _ in self._heap)

    def keep(self, is_wanted: Callable[[Item], bool]) -> None:
        """Keeps the items for which the function holds, and drops all others."""
        self._heap = [entry for entry in self._heap if is_wanted(entry[2])]
        heapq.heapify(self._heap)
