"""The inputs: files, folders, globs, LMDB sets and lists of paths, one crop at a time."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from abinet_client.batch.lmdb_folder import FILE_ENDING, is_lmdb, open_lmdb

STDIN = "-"
LISTS = (".txt", ".lst")
IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".tif", ".tiff")
UNREAD_IMAGES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ico", ".psd")
"""Endings of images that are sent too: the service reads some with its extra `formats`, and names the remedy
for the rest.
"""

SORTED_ENTRIES = 10_000
"""A folder with more entries is read in the file system's order, because sorting needs all names in memory.
"""
_CHUNK = 1 << 16


class Item(NamedTuple):
    """A crop to read.

    `name` is the path in its row. `image` is a path or an image file's bytes, or None if there is an `error`.
    `root` is the folder in which it was found.
    """

    name: str
    image: str | bytes = b""
    root: str = ""
    label: str | None = None
    error: str | None = None


class Inputs:
    """The crops of the command's arguments, in their order; a folder's are sorted by name.

    Iterating holds at most one folder's names in memory. `skipped` counts, by their endings, the files that
    the last iteration passed over because they do not end like an image's. Names that begin with a dot are
    ignored.

    Raises:
        ValueError: none of the inputs exists.
        OSError: a list cannot be read.
    """

    def __init__(self, arguments: Sequence[str], *, null: bool = False) -> None:
        self.skipped: Counter[str] = Counter()
        self._arguments = arguments
        self._separator = b"\0" if null else b"\n"
        for argument in filter(_is_list, arguments):
            with open(argument, "rb"):
                pass
        if not any(name == STDIN or os.path.lexists(name) or glob.has_magic(name) for name in arguments):
            more = f" (nor {len(arguments) - 1} others)" if len(arguments) > 1 else ""
            raise ValueError(f"{arguments[0]}: no such file or folder{more}")

    def check(self) -> None:
        """Raises ValueError if there is nothing to read, unless the standard input decides that."""
        if (
            self.countable
            and next(iter(Inputs(self._arguments, null=self._separator == b"\0")), None) is None
        ):
            raise ValueError(f"{' '.join(self._arguments)}: no image there ({', '.join(IMAGES)})")

    @property
    def countable(self) -> bool:
        """Whether they can be counted before they are read."""
        return STDIN not in self._arguments

    def __iter__(self) -> Iterator[Item]:
        self.skipped.clear()
        for argument in self._arguments:
            yield from self._items(argument)

    def count(self) -> Iterator[int]:
        """Numbers that add up to the number of crops."""
        again = Inputs(self._arguments, null=self._separator == b"\0")
        for argument in self._arguments:
            if is_lmdb(argument):
                yield len(open_lmdb(argument))
            else:
                yield from (1 for _ in again._items(argument))

    def _items(self, argument: str) -> Iterator[Item]:
        if argument == STDIN:
            yield from _listed(sys.stdin.buffer, self._separator)
        elif is_lmdb(argument):
            yield from _stored(argument)
        elif os.path.isdir(argument):
            yield from self._below(argument)
        elif _is_list(argument):
            with open(argument, "rb") as file:
                yield from _listed(file, self._separator)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            yield from self._matching(argument)
        else:
            yield _named(argument)

    def _below(self, root: str) -> Iterator[Item]:
        """A folder's crops, and those of all folders below it. Links are followed, loops are not."""
        walk: list[tuple[_Identity, Iterator[os.DirEntry[str] | Item]]] = []

        def enter(folder: str) -> Iterator[Item]:
            identity = _identity(folder)
            if identity in (above for above, _ in walk):
                return
            if is_lmdb(folder):
                yield from _stored(folder)
            else:
                walk.append((identity, _entries(folder)))

        yield from enter(root)
        while walk:
            entry = next(walk[-1][1], None)
            if entry is None:
                walk.pop()
            elif isinstance(entry, Item):
                yield entry._replace(root=root)
            elif entry.name.startswith("."):
                pass
            elif _is_folder(entry):
                yield from enter(entry.path)
            elif entry.name.endswith(FILE_ENDING):
                yield from _stored(entry.path)
            elif entry.name.lower().endswith(IMAGES + UNREAD_IMAGES):
                yield Item(entry.path, entry.path, root, error=_irregular(entry))
            else:
                self.skipped[os.path.splitext(entry.name)[1].lower() or "without an ending"] += 1

    def _matching(self, pattern: str) -> Iterator[Item]:
        """The paths that a glob matches; of a folder, all images below it."""
        base, deep, rest = pattern.partition("**")
        if deep:
            wanted = (deep + rest).split(os.sep)
            for folder in glob.iglob(base) if base else ["."]:
                for item in self._below(folder):
                    if _fits(os.path.relpath(item.name, folder).split(os.sep), wanted):
                        yield item
            return
        head, tail = os.path.split(pattern)
        for folder in glob.iglob(os.path.join(head, "")) if head else [""]:
            for entry in _entries(folder or "."):
                if isinstance(entry, Item):
                    yield entry
                elif _fits([entry.name], [tail]):
                    path = os.path.join(folder, entry.name)
                    yield from self._below(path) if _is_folder(entry) else [_named(path)]


_Identity = tuple[int, int]


def _is_list(argument: str) -> bool:
    return argument.lower().endswith(LISTS) and not os.path.isdir(argument)


def _named(path: str) -> Item:
    """A file that is named as an input is tried, whatever its ending."""
    return Item(path, path, os.path.dirname(path))


def _stored(folder: str) -> Iterator[Item]:
    try:
        crops = open_lmdb(folder)
    except ValueError as error:
        yield Item(folder, error=str(error), root=folder)
        return
    for name, image, label in crops:
        yield Item(name, image or b"", folder, label, None if image else "no image")


def _listed(file: BinaryIO, separator: bytes) -> Iterator[Item]:
    for line in _lines(file, separator):
        path = os.fsdecode(line if separator == b"\0" else line.rstrip(b"\r"))
        if path:
            yield _named(path)


def _lines(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = b""
    # The bytes that a pipe holds now, without waiting for more.
    while chunk := os.read(file.fileno(), _CHUNK):
        *lines, rest = (rest + chunk).split(separator)
        yield from lines
    yield rest


def _identity(folder: str) -> _Identity:
    try:
        status = os.stat(folder)
    except OSError:
        return (-1, -1)
    return status.st_dev, status.st_ino


def _entries(folder: str) -> Iterator[os.DirEntry[str] | Item]:
    """The entries of a folder, or an item with the error that it cannot be listed."""
    try:
        with os.scandir(folder) as listing:
            first = list(itertools.islice(listing, SORTED_ENTRIES + 1))
            if len(first) <= SORTED_ENTRIES:
                first.sort(key=lambda entry: entry.name)
            yield from first
            yield from listing
    except OSError as error:
        yield Item(folder, error=error.strerror or str(error))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _irregular(entry: os.DirEntry[str]) -> str | None:
    """Why a file in a folder is not opened, if it is not a regular file: a pipe would block for ever."""
    try:
        if entry.is_file() or stat.S_ISREG(entry.stat().st_mode):
            return None
    except OSError as error:
        return error.strerror or str(error)
    return "not a regular file"


def _fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path's parts match those of a glob, of which "**" is any number of folders."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_fits(parts[skipped:], wanted[1:]) for skipped in range(len(parts) + 1))
    if not parts or (parts[0].startswith(".") and not wanted[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])
