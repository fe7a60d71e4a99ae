"""A queue that serves requests in turn, for a large one not to hold up those that came after it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")


class FairQueue(Generic[Owner, Item]):
    """Of each owner's items the first is next, then the first of the owner that came after it, and so on."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Owner, deque[Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self._lines.values())

    def add(self, owner: Owner, items: Iterable[Item]) -> None:
        line = self._lines.setdefault(owner, deque())
        self._count -= len(line)
        line.extend(items)
        self._count += len(line)

    def put_back(self, owner: Owner, item: Item) -> None:
        """Something that was taken, which is to be the next."""
        self._lines.setdefault(owner, deque()).appendleft(item)
        self._lines.move_to_end(owner, last=False)
        self._count += 1

    def peek(self) -> Item:
        return next(iter(self._lines.values()))[0]

    def pop(self) -> Item:
        owner, line = self._lines.popitem(last=False)
        item = line.popleft()
        self._count -= 1
        if line:
            self._lines[owner] = line
        return item
