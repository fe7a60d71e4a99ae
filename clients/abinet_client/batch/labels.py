"""Labels of crops, and how many were read correctly."""

from __future__ import annotations

import os
import unicodedata

from abinet_client.batch.label_files import LabelFile
from abinet_client.batch.sources import Item

_COUNTED = frozenset("0123456789abcdefghijklmnopqrstuvwxyz")
_LONGEST = 25


def fold(text: str) -> str:
    """A text as `abinet eval` compares it: without accents (NFKD), lower case, and only [0-9a-z]."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join([character for character in decomposed.lower() if character in _COUNTED])


class Labels:
    """A file of labels (see `LabelFile`), in memory as long as it lives.

    A name is relative to the file's root, or to the folder that is read, or is the path as it was given.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        file = LabelFile(path)
        self._root = file.root
        labels = (file[index] for index in range(len(file)))
        self._labels = {os.path.normpath(name): text for name, text in labels if name and text is not None}

    def of(self, item: Item) -> str | None:
        """The label of a crop, if the file has one."""
        names = names_of(item, self._root)
        return next((self._labels[name] for name in names if name in self._labels), None)


def names_of(item: Item, root: str) -> tuple[str, ...]:
    """The names that a label file with names relative to `root` may have for an item."""
    absolute = os.path.abspath(item.name)
    return (
        os.path.relpath(absolute, root),
        os.path.relpath(absolute, os.path.abspath(item.root)),
        os.path.normpath(item.name),
        absolute,
    )


class Tally:
    """How many labelled crops were read correctly."""

    def __init__(self) -> None:
        self.right = self.wrong = self.unreadable = self.unusable = 0

    def add(self, label: str, right: bool | None) -> None:
        """Counts a crop with a folded label; `right` is None if it could not be read."""
        if not 0 < len(label) <= _LONGEST:
            self.unusable += 1
        elif right is None:
            self.unreadable += 1
        else:
            self.right += right
            self.wrong += not right

    def __str__(self) -> str:
        read, left_out = self.right + self.wrong, self.unreadable + self.unusable
        if not read + left_out:
            return "accuracy: no crop has a label"
        share = f"{100 * self.right / read:.2f} %" if read else "none"
        reasons = f"{self.unreadable} unreadable, {self.unusable} without a usable label"
        aside = f"; left out: {reasons}" if left_out else ""
        return f"accuracy: {share} ({self.right} of {read} labelled crops{aside})"
