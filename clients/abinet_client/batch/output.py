"""Where rows go: a file that is whole after every row, or the standard output."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from typing import BinaryIO

from abinet_client.batch.rows import FORMATS, Format, Row
from abinet_client.batch.terminal import visible


class Output:
    """Rows in `format`, appended one by one. `path` None is the standard output.

    With `resume` the rows that a file already has are given to `earlier`; a last one that is not whole is
    removed. A kill at any moment leaves whole rows, but for the last one perhaps.

    Raises:
        ValueError: the file has rows and `resume` is not asked for, has other columns, is no such table, or
            is being written by another process.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        path: str | None,
        format: Format,
        *,
        resume: bool = False,
        earlier: Callable[[Row], object] = lambda row: None,
    ) -> None:
        self._format = format
        self._is_terminal = path is None and sys.stdout.isatty()
        if path is None:
            self._file: BinaryIO = sys.stdout.buffer
            self._file.write(format.header())
            return
        if _is_stream(path):
            if resume:
                raise ValueError(f"{path}: is no file that --resume could go on with")
            self._file = open(path, "wb")  # noqa: SIM115 (closed by close)
            self._is_terminal = self._file.isatty()
            self._file.write(format.header())
            return
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
        try:
            _lock(self._file, path)
            if os.path.getsize(path) and not resume:
                raise ValueError(f"{path}: exists already; --resume goes on with it, or remove it")
            end = _whole(self._file, path, format, earlier)
            self._file.seek(end)
            self._file.truncate()
            if not end:
                self._file.write(format.header())
                self._file.flush()
        except BaseException:
            self._file.close()
            raise

    def write(self, row: Row) -> None:
        """Appends a row, which is in the file after the next `flush`."""
        record = self._format.encode(row)
        self._file.write(visible(record.decode()).encode() if self._is_terminal else record)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        if self._file is not sys.stdout.buffer:
            self._file.close()


def format_named(name: str | None, path: str | None) -> type[Format]:
    """The format of that name, or the one that a file's ending says; TSV for standard output, pipe or device.

    Raises:
        ValueError: the ending says nothing.
    """
    if name is None and path is not None and not _is_stream(path):
        name = os.path.splitext(path)[1].lower().lstrip(".")
        if name not in FORMATS:
            raise ValueError(f"{path}: ends in none of .csv, .tsv and .jsonl; say which with --format")
    return FORMATS[name or "tsv"]


def _is_stream(path: str) -> bool:
    """Whether there is a pipe, a terminal or another device, such as /dev/stdout or /dev/null."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _lock(file: BinaryIO, path: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{path}: is being written by another process") from None


def _whole(file: BinaryIO, path: str, format: Format, earlier: Callable[[Row], object]) -> int:
    """Gives the file's rows to `earlier`; the number of bytes up to the end of the last whole one."""
    header, end = format.header(), 0
    for number, record in enumerate(format.records(file)):
        end += len(record)
        if number == 0 and header:
            if record != header:
                raise ValueError(
                    f"{path}: its columns are not {header.decode().strip()!r}; choose another file"
                )
            continue
        try:
            earlier(format.decode(record))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: record {number + 1} is not a row of this table ({error})") from None
    return end
