"""The output of rows: a file that is complete after every row, or the standard output."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Callable
from typing import BinaryIO

from abinet_client.batch.rows import FORMATS, Format, Row
from abinet_client.batch.terminal import visible


class Output:
    """Rows in `format`, appended one by one. `path` None is the standard output; a pipe or a device, which is
    not looked at, is written to as it is.

    With `resume` the rows that a file already has are given to `earlier`; a last one that is not whole is
    removed. A kill at any moment leaves whole rows, except the last one perhaps.

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
        if not _is_file(path):
            if resume:
                raise ValueError(f"{path}: not a regular file, so --resume cannot tell what it has")
            self._file = _opened(path, format.header())
            self._is_terminal = self._file.isatty()
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
        if self._file.closed:
            return
        self._file.flush()
        if self._file is not sys.stdout.buffer:
            self._file.close()


def format_named(name: str | None, path: str | None) -> type[Format]:
    """The format with this name, or the one of the file's ending; TSV for the standard output.

    Raises:
        ValueError: the ending is not known.
    """
    if name is None and path is not None and (_is_file(path) or os.path.splitext(path)[1]):
        name = os.path.splitext(path)[1].lower().lstrip(".")
        if name == "json":
            raise ValueError(f"{path}: rows are a JSON object each, so name it {path}l")
        if name not in FORMATS:
            raise ValueError(f"{path}: does not end in .csv, .tsv or .jsonl; choose one with --format")
    return FORMATS[name or "tsv"]


def _opened(path: str, header: bytes) -> BinaryIO:
    """A pipe or a device with its header, so that a full one is found now. Raises OSError, with its name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, header)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, path) from None
    return os.fdopen(descriptor, "wb")


def _is_file(path: str) -> bool:
    """Whether it is a regular file, or will be one."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


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
