"""A queue that serves requests in turn, so that a large one does not hold up later ones."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")


class FairQueue(Generic[Owner, Item]):
    """Gives out the first item of each owner in turn, in the order in which the owners came."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Owner, deque[Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self._queues.values())

    def add(self, owner: Owner, items: Iterable[Item]) -> None:
        queue = self._queues.setdefault(owner, deque())
        self._count -= len(queue)
        queue.extend(items)
        self._count += len(queue)

    def put_back(self, owner: Owner, item: Item) -> None:
        """Puts back an item that was taken; it is the next one again."""
        self._queues.setdefault(owner, deque()).appendleft(item)
        self._queues.move_to_end(owner, last=False)
        self._count += 1

    def peek(self) -> Item:
        return next(iter(self._queues.values()))[0]

    def pop(self) -> Item:
        owner, queue = self._queues.popitem(last=False)
        item = queue.popleft()
        self._count -= 1
        if queue:
            self._queues[owner] = queue
        return item
