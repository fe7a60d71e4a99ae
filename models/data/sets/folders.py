"""Labelled sets of crops, one interface on LMDBs, on folders with a `labels.tsv` and on label files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from models.data.sets.lmdb import DATA_FILE, LmdbSet
from models.data.sets.samples import Image, UnusableSample, decode_crop, fold_label, image_format

__all__ = ["LABELS", "LabelFile", "LabelledSet", "SetPath", "UnusableSample", "find_sets", "open_set"]

LABELS = "labels.tsv"

#: ICDAR's form of a line, `word_1.png, "Harbour"`; a backslash stands before a quote within the text.
_ICDAR = re.compile(r'([^,\t]+),\s*"(.*)"\s*')


class LabelFile(NamedTuple):
    """A table of labels whose file names count from the folder ``images``, not from the table's own."""

    table: Path
    images: Path

    @property
    def name(self) -> str:
        return self.table.stem

    def resolve(self) -> LabelFile:
        return LabelFile(self.table.resolve(), self.images.resolve())

    def __str__(self) -> str:
        return str(self.table)


SetPath = Path | LabelFile


class LabelledFolder:
    """Reads the images that a table names: a line is a file name relative to ``images``, by default the
    table's folder, a tab, the text; or as ICDAR has it, the name, a comma and the text in quotes.

    Raises: ValueError where the table has no such line, OSError where it cannot be read.
    """

    def __init__(self, table: Path, images: Path | None = None) -> None:
        self.table, self.images = table, images or table.parent
        try:
            lines = table.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError:
            raise ValueError(f"{table}: not UTF-8 text") from None
        self._lines = [line.rstrip("\r") for line in lines if line.strip()]
        if not any("\t" in line or _ICDAR.fullmatch(line) for line in self._lines):
            raise ValueError(
                f'{table}: each line needs a file name, a tab and a label (or ICDAR\'s name, "label")'
            )

    def __reduce__(self) -> tuple[type[LabelledFolder], tuple[Path, Path]]:
        return LabelledFolder, (self.table, self.images)

    def __len__(self) -> int:
        return len(self._lines)

    def read(self, index: int) -> tuple[bytes, str]:
        """The image file's bytes and the text of line ``index``, 0..len-1.

        Raises: UnusableSample, "no image" where the file cannot be read, "no label" where there is no tab.
        """
        line = self._lines[index]
        icdar = None if "\t" in line else _ICDAR.fullmatch(line)
        if icdar:
            name, tab, text = icdar[1], "\t", re.sub(r"\\(.)", r"\1", icdar[2])
        else:
            name, tab, text = line.partition("\t")
        try:
            image = (self.images / name).read_bytes()
        except (OSError, ValueError):
            raise UnusableSample("no image") from None
        if not tab:
            raise UnusableSample("no label")
        return image, text


class Samples(Protocol):
    """What a set reads from."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[bytes, str]: ...


class LabelledSet:
    """Crops with their labels; ``name`` is the folder's. It may be sent to another process.

    The readers raise UnusableSample for a sample to skip, and IndexError beyond the end.
    """

    def __init__(self, name: str, samples: Samples, fold: Callable[[str], str] = fold_label) -> None:
        self.name = name
        self._samples = samples
        self._fold = fold

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> tuple[bytes, str]:
        """The image file's bytes and the text, both as they are stored."""
        return self._samples.read(index)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The image file's bytes, not decoded, and the label: 1..25 characters of [0-9a-z].

        An image that breaks off after its first bytes goes unnoticed here.
        """
        image, text = self.read(index)
        image_format(image)
        return image, self._fold(text)

    def crop(self, index: int) -> tuple[Image, str]:
        """The crop, (H, W, 3) uint8 RGB, and the label: 1..25 characters of [0-9a-z]."""
        image, label = self.encoded(index)
        return decode_crop(image), label


def open_set(path: SetPath, fold: Callable[[str], str] = fold_label) -> LabelledSet:
    """Opens an LMDB folder, a folder with a `labels.tsv`, such a table itself, or a label file.

    ``fold`` makes the labels of the texts.

    Raises: ValueError where it is none of these, OSError where it cannot be read.
    """
    if isinstance(path, LabelFile):
        return LabelledSet(path.name, LabelledFolder(*path), fold)
    if path.is_file():
        return LabelledSet(path.resolve().parent.name, LabelledFolder(path), fold)
    name = path.resolve().name
    if (path / DATA_FILE).is_file():
        samples = LmdbSet(path)
        len(samples)  # an unusable file is found now
        return LabelledSet(name, samples, fold)
    if (path / LABELS).is_file():
        return LabelledSet(name, LabelledFolder(path / LABELS), fold)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    raise ValueError(f"{path}: no {DATA_FILE} and no {LABELS} (lines of file name, tab, label)")


def find_sets(roots: Sequence[SetPath]) -> list[SetPath]:
    """Every folder at or below the roots that holds an LMDB or a `labels.tsv`, sorted, each once.

    A root may also be such a table itself, or a label file. Hidden folders are left out: an interrupted
    writer's are among them. Links are followed.

    Raises: ValueError where a root holds none.
    """
    found: dict[SetPath, SetPath] = {}
    for root in roots:
        if isinstance(root, LabelFile):
            for part, what in ((root.table, "file"), (root.images, "folder")):
                if not part.exists():
                    raise ValueError(f"{part}: no such {what}")
            found.setdefault(root.resolve(), root)
            continue
        if not root.exists():
            raise ValueError(f"{root}: no such folder")
        below = _sets_below(root) if root.is_dir() else [root.parent if root.name == LABELS else root]
        if not below:
            raise ValueError(f"{root}: no folder here holds {DATA_FILE} or {LABELS}")
        for path in below:
            found.setdefault(path.resolve(), path)
    return sorted(found.values(), key=str)


def _sets_below(root: Path) -> list[Path]:
    sets: list[Path] = []
    visited: set[Path] = set()
    for name, folders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        if folder.resolve() in visited:
            folders.clear()
            continue
        visited.add(folder.resolve())
        folders[:] = [below for below in folders if not below.startswith(".")]
        if DATA_FILE in files or LABELS in files:
            sets.append(folder)
    return sets
