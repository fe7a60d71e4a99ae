"""Label files: a line for each crop, in one of the field's forms.

| form | a line |
|---|---|
| tab (PaddleOCR, MindOCR, ours) | `crops/word_1.png<tab>Harbour` |
| ICDAR | `word_1.png, "Harbour"` |
| CSV, with or without a line of column names | `word_1.png,Harbour` |
| JSON lines | `{"file_name": "word_1.png", "text": "Harbour"}` |
"""

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Sequence
from typing import Callable, NamedTuple

FORMS = 'a file name, a tab and a text; word.png, "text"; CSV; or JSON lines of file_name and text'

_NAMES = ("file_name", "filename", "file", "path", "image", "image_path", "img_path", "img", "name")
_TEXTS = ("text", "label", "words", "word", "transcription", "ground_truth", "gt")
"""Names of columns and members, the likelier first."""
_LOOKED_AT = 100
"""Lines that decide which form a file has and what its paths are relative to."""
_DETECTIONS = ('[{"', "[{'")


class Label(NamedTuple):
    """A crop's file name as the file has it, or "", and its text, None if there is none."""

    name: str
    text: str | None


class LabelFile:
    """The labels of a file, by number. A line is parsed when it is asked for, so that millions fit in memory.

    `root` is the folder that the names are relative to. By default it is the first of these below which one
    of the first crops lies: the file's own folder, the working folder, those above the file's.

    Raises:
        ValueError: the file is in none of the forms, or not UTF-8 (UTF-16 with its mark is read too).
        OSError: it cannot be read.
    """

    def __init__(self, path: str, root: str | None = None) -> None:
        self.path = path
        self._lines = [line for line in lines_of(path) if line.strip()]
        self._parse = self._form()
        names = [self[index].name for index in range(min(len(self), _LOOKED_AT))]
        self.root = root_of(path, names) if root is None else root

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Label:
        return self._parse(self._lines[index])

    def _form(self) -> Callable[[str], Label]:
        first = self._lines[:_LOOKED_AT]
        if first and first[0].startswith("{"):
            parse: Callable[[str], Label] = _of_json
        elif any("\t" in line for line in first):
            parse = self._of_columns("\t") or _of_tab
        else:
            parse = self._of_columns(",") or _of_commas
        labels = [
            label for label in map(parse, self._lines[:_LOOKED_AT]) if label.name and label.text is not None
        ]
        if not labels:
            raise ValueError(f"{self.path}: no labels; a line of them is {FORMS}")
        if (labels[0].text or "").startswith(_DETECTIONS):
            raise ValueError(
                f"{self.path}: labels of regions in photos, not of crops; "
                "abinet read PHOTOS --regions reads them"
            )
        return parse

    def _of_columns(self, delimiter: str) -> Callable[[str], Label] | None:
        """How lines below the names of columns are read, which are removed; None without such names."""

        def cells(line: str) -> list[str]:
            return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])

        names = [cell.strip().lower() for cell in cells(self._lines[0])] if self._lines else []
        name, text = (
            next((names.index(known) for known in all if known in names), -1) for all in (_NAMES, _TEXTS)
        )
        if name < 0 or text < 0:
            return None
        del self._lines[0]

        def parse(line: str) -> Label:
            row = cells(line)
            return Label(row[name], row[text]) if len(row) > max(name, text) else Label("", None)

        return parse


def root_of(path: str, names: Sequence[str]) -> str:
    """The folder that a file's names are relative to (see LabelFile)."""
    own = os.path.dirname(os.path.abspath(path))
    for folder in _own_working_and_above(own):
        if any(name and os.path.lexists(os.path.join(folder, name)) for name in names[:_LOOKED_AT]):
            return folder
    return own


def _own_working_and_above(own: str) -> Sequence[str]:
    folders = [own, os.getcwd()]
    while own != os.path.dirname(own):
        own = os.path.dirname(own)
        folders.append(own)
    return folders


def lines_of(path: str) -> list[str]:
    """The lines of a text file in UTF-8 or UTF-16. Raises ValueError if it is neither, and OSError."""
    with open(path, "rb") as file:
        content = file.read()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    return [line.rstrip("\r") for line in text.split("\n")]


def _of_tab(line: str) -> Label:
    name, tab, text = line.partition("\t")
    return Label(name, text if tab else None)


def _of_commas(line: str) -> Label:
    if line.startswith('"'):
        name, *cells = next(csv.reader([line], skipinitialspace=True))
        return Label(name, ",".join(cells) if cells else None)
    name, comma, text = line.partition(",")
    text = text.strip()
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        # ICDAR has \" within quotes, CSV "".
        text = text[1:-1].replace('\\"', '"').replace('""', '"')
    return Label(name.strip(), text if comma else None)


def _of_json(line: str) -> Label:
    try:
        members = json.loads(line)
    except ValueError:
        return Label("", None)
    if not isinstance(members, dict):
        return Label("", None)
    name, text = (
        next((members[known] for known in all if known in members), None) for all in (_NAMES, _TEXTS)
    )
    return Label(name if isinstance(name, str) else "", text if isinstance(text, str) else None)
