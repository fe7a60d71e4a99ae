"""LMDB sets in the layout of the field: `num-samples`, `image-%09d`, `label-%09d`, counted from 1."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

DATA_FILE, FILE_ENDING = "data.mdb", ".lmdb"

# py-lmdb refuses to open a file twice in one process, and counting and reading are two threads.
_opened: dict[str, LmdbFolder] = {}
_opening = threading.Lock()


class LmdbFolder:
    """One set, a folder or a single file. Iterating gives each crop's name, "FOLDER:000000001", its image
    file's bytes (None if there are none) and its label, if there is one.

    Raises: ValueError if there is no such set.
    """

    def __init__(self, folder: str) -> None:
        import lmdb

        self._folder = folder
        path = folder if os.path.isfile(folder) else os.path.join(folder, DATA_FILE)
        try:
            self._environment: Any = lmdb.open(
                path, subdir=False, readonly=True, lock=False, readahead=False, create=False
            )
            pages, page = self._environment.info()["last_pgno"] + 1, self._environment.stat()["psize"]
            if os.path.getsize(path) < pages * page:
                raise ValueError(f"{folder}: {os.path.basename(path)} is cut off")
            with self._environment.begin() as transaction:
                count = transaction.get(b"num-samples")
        except lmdb.Error as error:
            raise ValueError(f"{folder}: not an LMDB set ({str(error).rpartition(': ')[2]})") from None
        digits = (count or b"").strip()  # some writers end it with a line break
        if not digits.isdigit() or int(digits) > self._environment.stat()["entries"]:
            raise ValueError(f"{folder}: not an LMDB set (num-samples is {digits[:20]!r})")
        self._count = int(digits)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, bytes | None, str | None]]:
        for number in range(1, self._count + 1):
            image = self._get(b"image-%09d" % number)
            label = self._get(b"label-%09d" % number)
            text = None if label is None else label.decode("utf-8", errors="replace")
            yield f"{self._folder}:{number:09d}", image, text

    def _get(self, key: bytes) -> bytes | None:
        import lmdb

        try:
            with self._environment.begin() as transaction:
                value: bytes | None = transaction.get(key)
        except lmdb.Error:
            return None
        return value


def is_lmdb(path: str) -> bool:
    """Whether a folder holds the file of an LMDB, or a file is called one."""
    return (path.endswith(FILE_ENDING) and os.path.isfile(path)) or os.path.isfile(
        os.path.join(path, DATA_FILE)
    )


def open_lmdb(folder: str) -> LmdbFolder:
    """The set of a folder or a file, opened once in this process. Raises ValueError if there is none."""
    path = os.path.realpath(folder)
    with _opening:
        if path not in _opened:
            _opened[path] = LmdbFolder(folder)
        return _opened[path]
