"""LMDB sets in the layout of the field: `num-samples`, `image-%09d`, `label-%09d`, counted from 1.

An image is the bytes of an image file, a label is UTF-8 text as it was annotated.
"""

from __future__ import annotations

import secrets
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import lmdb

from models.data.sets.samples import UnusableSample

DATA_FILE = "data.mdb"
COUNT_KEY = b"num-samples"

_MAGIC_BYTES = 20
_MAGIC = (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde")
"""The bytes after a page's header of 16 bytes, in the byte order of the machine that wrote them."""

FIRST_MAP_BYTES = 1 << 26
COMMIT_BYTES = 1 << 24

# py-lmdb refuses to open a file twice in one process, so all sets on one file share its environment.
_environments: weakref.WeakValueDictionary[tuple[int, int], lmdb.Environment] = weakref.WeakValueDictionary()


class LmdbSet:
    """Reads one LMDB, a folder or a single file. The file is opened at the first use, and again in a process
    that it is sent to.

    Raises: ValueError, at the first use, if there is no such set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment: lmdb.Environment | None = None
        self._count = 0

    def __reduce__(self) -> tuple[type[LmdbSet], tuple[Path]]:
        return LmdbSet, (self.folder,)

    def __len__(self) -> int:
        self._open()
        return self._count

    def read(self, index: int) -> tuple[bytes, str]:
        """The image file's bytes and the text of sample ``index``, 0..len-1; bytes that are not UTF-8 become
        U+FFFD.

        Raises:
            IndexError: no such sample.
            UnusableSample: "no image" or "no label" if the key is missing, "broken image" if the database is
                damaged there.
        """
        environment = self._open()
        if not 0 <= index < self._count:
            raise IndexError(f"{self.folder}: no sample {index}; there are {self._count}")
        try:
            with environment.begin() as transaction:
                image = transaction.get(_image_key(index))
                text = transaction.get(_label_key(index))
        except lmdb.Error:
            raise UnusableSample("broken image") from None
        if image is None:
            raise UnusableSample("no image")
        if text is None:
            raise UnusableSample("no label")
        return bytes(image), bytes(text).decode("utf-8", errors="replace")

    def _open(self) -> lmdb.Environment:
        if self._environment is None:
            try:
                environment = _open_environment(self.folder)
                self._count = _count(environment)
            except (lmdb.Error, ValueError) as error:
                raise ValueError(f"{self.folder}: not an LMDB set ({_reason(error)})") from None
            self._environment = environment
        return self._environment


def is_lmdb(path: Path) -> bool:
    """Whether a folder holds the file of an LMDB, or a file is one, by its first bytes or its name."""
    if not path.is_file():
        return (path / DATA_FILE).is_file()
    with path.open("rb") as file:
        return file.read(_MAGIC_BYTES).endswith(_MAGIC) or path.suffix == ".lmdb"


def _open_environment(folder: Path) -> lmdb.Environment:
    path = folder if folder.is_file() else folder / DATA_FILE
    if not path.is_file():
        raise ValueError(f"no {DATA_FILE}")
    status = path.stat()
    if not status.st_size:
        raise ValueError(f"{path.name} is empty")
    key = status.st_dev, status.st_ino
    environment = _environments.get(key)
    if environment is None:
        environment = lmdb.open(
            str(path), subdir=False, readonly=True, lock=False, readahead=False, create=False
        )
        # A page beyond the end of a mapped file is a bus error, which ends the process.
        if status.st_size < (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]:
            raise ValueError(f"{path.name} is cut off")
        _environments[key] = environment
    return environment


def _count(environment: lmdb.Environment) -> int:
    with environment.begin() as transaction:
        value = transaction.get(COUNT_KEY)
    if value is None:
        raise ValueError("no num-samples")
    digits = bytes(value).strip()  # some writers end it with a line break
    if not digits.isdigit() or int(digits) > environment.stat()["entries"]:
        raise ValueError(f"num-samples is {digits[:20]!r}, with {environment.stat()['entries']} entries")
    return int(digits)


def _image_key(index: int) -> bytes:
    return b"image-%09d" % (index + 1)


def _label_key(index: int) -> bytes:
    return b"label-%09d" % (index + 1)


class LmdbWriter:
    """Writes one LMDB folder, in a hidden folder beside it that takes its name when all samples are on disk.

    After an exception the hidden folder is gone. Memory stays flat: samples are written every 16 MiB.

    Raises: ValueError if the folder exists, OSError if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._partial = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}")
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self._count = 0

    def __enter__(self) -> LmdbWriter:
        if self.folder.exists():
            raise ValueError(f"{self.folder}: exists already; remove it or choose another name")
        self._partial.mkdir(parents=True)
        try:
            with _file_errors(self.folder):
                self._environment = lmdb.open(
                    str(self._partial), map_size=FIRST_MAP_BYTES, lock=False, sync=False, mode=0o644
                )
        except BaseException:
            shutil.rmtree(self._partial)
            raise
        return self

    def write(self, image: bytes, text: str) -> None:
        """Appends a sample: an image file's bytes and its text."""
        encoded = text.encode("utf-8")
        self._pending += [(_image_key(self._count), image), (_label_key(self._count), encoded)]
        self._pending_bytes += len(image) + len(encoded)
        self._count += 1
        if self._pending_bytes >= COMMIT_BYTES:
            with _file_errors(self.folder):
                self._commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._pending.append((COUNT_KEY, b"%d" % self._count))
                with _file_errors(self.folder):
                    self._commit()
                    self._environment.sync(True)
                self._partial.rename(self.folder)
        finally:
            self._environment.close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def _commit(self) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in self._pending:
                        transaction.put(key, value)
                break
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        self._pending, self._pending_bytes = [], 0


@contextmanager
def _file_errors(folder: Path) -> Iterator[None]:
    """Turns LMDB's errors, such as a full disk, into OSError."""
    try:
        yield
    except lmdb.Error as error:
        raise OSError(f"{folder}: cannot be written ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """LMDB's error without the path or call before it."""
    return str(error).rpartition(": ")[2]
