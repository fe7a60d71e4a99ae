"""The rows of an earlier run, in 16 bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import blake2b

from abinet_client.batch.labels import fold
from abinet_client.batch.rows import Row

_UNREADABLE = 0


class Earlier:
    """The rows of an earlier run, by their keys: whether a row exists, and whether its text was its label."""

    def __init__(self) -> None:
        self.failed = 0
        self._paths = array("Q")
        self._texts = array("Q")

    def add(self, row: Row) -> None:
        self.failed += row.error is not None
        self._paths.append(_digest(row.key))
        self._texts.append(_UNREADABLE if row.text is None else _digest(fold(row.text)))

    def seal(self) -> None:
        """Must be called after the last row is added and before the first look-up."""
        if not self._paths:
            return
        import numpy

        paths, texts = (numpy.frombuffer(column, numpy.uint64) for column in (self._paths, self._texts))
        order = paths.argsort(kind="stable")
        self._paths, self._texts = array("Q", paths[order].tobytes()), array("Q", texts[order].tobytes())

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, key: str) -> bool:
        return self._place(key) is not None

    def reads(self, key: str, label: str) -> bool | None:
        """Whether the row's text is this label, folded; None if the crop could not be read."""
        place = self._place(key)
        if place is None or self._texts[place] == _UNREADABLE:
            return None
        return self._texts[place] == _digest(label)

    def _place(self, key: str) -> int | None:
        if not self._paths:
            return None
        digest = _digest(key)
        place = bisect_left(self._paths, digest)
        return place if place < len(self._paths) and self._paths[place] == digest else None


def _digest(text: str) -> int:
    """As the row has it: some bytes of a path are written as escapes."""
    return int.from_bytes(blake2b(text.encode(errors="backslashreplace"), digest_size=8).digest(), "little")
