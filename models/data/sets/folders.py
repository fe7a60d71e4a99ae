"""Labelled sets of crops, one interface on LMDBs and on folders with a label file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from models.data.sets.labels import LABEL_FILES, LabelledFolder, label_file_in
from models.data.sets.lmdb import DATA_FILE, LmdbSet, is_lmdb
from models.data.sets.samples import Image, UnusableSample, decode_crop, fold_label, image_format

__all__ = ["LABELS", "LabelTable", "LabelledSet", "SetPath", "UnusableSample", "find_sets", "open_set"]

LABELS = LABEL_FILES[0]
"""The name of the label files that this project writes."""


class LabelTable(NamedTuple):
    """A label file whose names count from the folder ``images``, wherever the file itself lies."""

    table: Path
    images: Path

    @property
    def name(self) -> str:
        return self.table.stem

    def resolve(self) -> LabelTable:
        return LabelTable(self.table.resolve(), self.images.resolve())

    def __str__(self) -> str:
        return str(self.table)


SetPath = Path | LabelTable


class Samples(Protocol):
    """The source that a set reads from."""

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

        An image that is cut off after its first bytes is not noticed here.
        """
        image, text = self.read(index)
        image_format(image)
        return image, self._fold(text)

    def crop(self, index: int) -> tuple[Image, str]:
        """The crop, (H, W, 3) uint8 RGB, and the label: 1..25 characters of [0-9a-z]."""
        image, label = self.encoded(index)
        return decode_crop(image), label


_SET = f"{DATA_FILE}, *.lmdb or a label file ({', '.join(LABEL_FILES)})"


def open_set(
    path: SetPath, root: Path | None = None, *, fold: Callable[[str], str] = fold_label
) -> LabelledSet:
    """Opens an LMDB (a folder, or a single file), a folder with a label file, or such a file itself.

    ``root`` is the folder that a label file's names are relative to; without it, it is found out. ``fold``
    makes labels from the texts.

    Raises: ValueError if it is none of these, OSError if it cannot be read.
    """
    if isinstance(path, LabelTable):
        return LabelledSet(path.name, LabelledFolder(*path), fold)
    name = path.resolve().name
    if is_lmdb(path):
        samples = LmdbSet(path)
        len(samples)  # so that an unusable file is found now
        return LabelledSet(path.resolve().stem if path.is_file() else name, samples, fold)
    if path.is_file():
        return LabelledSet(path.resolve().parent.name, LabelledFolder(path, root), fold)
    table = label_file_in(path)
    if table is not None:
        return LabelledSet(name, LabelledFolder(table, root), fold)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    raise ValueError(f"{path}: no {_SET}")


def find_sets(roots: Sequence[SetPath]) -> list[SetPath]:
    """Every LMDB and every folder with a label file at or below the roots, sorted, each once.

    A root may also be a label file itself, of any name. Hidden folders are left out: an interrupted writer's
    are among them. Links are followed.

    Raises: ValueError if a root holds none.
    """
    found: dict[SetPath, SetPath] = {}
    for root in roots:
        if isinstance(root, LabelTable):
            for part, what in ((root.table, "file"), (root.images, "folder")):
                if not part.exists():
                    raise ValueError(f"{part}: no such {what}")
            found.setdefault(root.resolve(), root)
            continue
        if not root.exists():
            raise ValueError(f"{root}: no such folder")
        below = _sets_below(root) if root.is_dir() else [_of_its_folder(root)]
        if not below:
            raise ValueError(f"{root}: no folder here holds {_SET}")
        for path in below:
            found.setdefault(path.resolve(), path)
    return sorted(found.values(), key=str)


def _of_its_folder(file: Path) -> Path:
    """The folder, if it is a set because of this file, so that it counts once."""
    return file.parent if file.name == DATA_FILE or file == label_file_in(file.parent) else file


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
        sets += [folder / file for file in files if file.endswith(".lmdb")]
        if DATA_FILE in files or any(file in LABEL_FILES for file in files):
            sets.append(folder)
    return sets
