"""A row of the output, as CSV, TSV or JSONL and back."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

COLUMNS = ("path", "text", "confidence", "error", "note")
DETAIL = ("turned", "iterations")
REGIONS = ("region", "points")
LEXICON = ("word", "word_probability", "none_probability")
ALTERNATIVES = ("alternatives",)

_TSV_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_TSV_TABLE = str.maketrans(_TSV_ESCAPES)
_TSV_MEANINGS = {escape: character for character, escape in _TSV_ESCAPES.items()}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_CSV_SPECIAL = re.compile(r'[",\r\n]')


class Row(NamedTuple):
    """The result for a crop: text, confidence (0 to 1) and perhaps a note, or an error.

    `turned` (degrees clockwise) and `iterations` (as JSON) are the service's own; None without details.
    `word` is the lexicon's likeliest word, with its probability and that of none of the words. `region` is
    the number of a photo's region from 0, `points` its outline in the photo; None for a crop.
    """

    path: str
    text: str | None = None
    confidence: float | None = None
    error: str | None = None
    note: str | None = None
    turned: int | None = None
    iterations: Sequence[dict[str, Any]] | None = None
    region: int | None = None
    points: Sequence[Sequence[float]] | None = None
    word: str | None = None
    word_probability: float | None = None
    none_probability: float | None = None
    alternatives: Sequence[dict[str, Any]] | None = None

    @property
    def key(self) -> str:
        """A key that no two rows of a table share, for --resume."""
        return key_of(self.path, self.region)


def key_of(path: str, region: int | None) -> str:
    """The key of a row."""
    return path if region is None else f"{path}\0{region}"


class Format:
    """One way to write rows. The bytes are UTF-8 always: a byte of a path that is not becomes `\\udcXX`.

    A cell that a spreadsheet would take for a formula gets an apostrophe before it.
    """

    def __init__(self, detail: bool, also: Sequence[str] = ()) -> None:
        """`also` are columns that rows have beside the usual ones and the details."""
        self.columns = (*COLUMNS, *also, *(DETAIL if detail else ()))

    def header(self) -> bytes:
        """The bytes before the first row."""
        return self._line(self.columns)

    def encode(self, row: Row) -> bytes:
        members = row._asdict()
        if row.iterations is not None:
            members["iterations"] = [_brief(stage) for stage in row.iterations]
        return self._line([_guarded(_cell(members[column])) for column in self.columns])

    def decode(self, record: bytes) -> Row:
        """Raises ValueError if it is no row."""
        cells = [_unguarded(cell) for cell in self._cells(record.decode())]
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} columns")
        members = dict(zip(self.columns, cells))
        region = int(members["region"]) if members.get("region") else None
        if not members["confidence"]:
            return Row(members["path"], error=members["error"] or "unknown", region=region)
        note = members["note"] or None
        return Row(members["path"], members["text"], float(members["confidence"]), note=note, region=region)

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole records from the file's position on; bytes after the last line break are no record."""
        for line in file:
            if line.endswith(b"\n"):
                yield line

    def _line(self, cells: Sequence[str]) -> bytes:
        raise NotImplementedError

    def _cells(self, line: str) -> list[str]:
        raise NotImplementedError


class Tsv(Format):
    """Cells without tabs: backslash, tab and line breaks are written as `\\\\`, `\\t`, `\\n`, `\\r`."""

    def _line(self, cells: Sequence[str]) -> bytes:
        line = "\t".join([cell.translate(_TSV_TABLE) for cell in cells]) + "\n"
        return line.encode(errors="backslashreplace")

    def _cells(self, line: str) -> list[str]:
        return [
            re.sub(r"\\[\\tnr]", lambda found: _TSV_MEANINGS[found.group()], cell)
            for cell in line[:-1].split("\t")
        ]


class Csv(Format):
    """RFC 4180, with a line feed at the end of a row. NUL, which readers refuse, is written as `\\x00`."""

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        record = b""
        for line in file:
            record += line
            # A line break in a quoted cell ends no record.
            if line.endswith(b"\n") and not record.count(b'"') % 2:
                yield record
                record = b""

    def _line(self, cells: Sequence[str]) -> bytes:
        line = ",".join(['"' + c.replace('"', '""') + '"' if _CSV_SPECIAL.search(c) else c for c in cells])
        return (line.replace("\0", "\\x00") + "\n").encode(errors="backslashreplace")

    def _cells(self, line: str) -> list[str]:
        return next(csv.reader(io.StringIO(line, newline="")))


class Jsonl(Format):
    """One object a row, always with the same members; `iterations` with every character's confidence."""

    def header(self) -> bytes:
        return b""

    def encode(self, row: Row) -> bytes:
        members = row._asdict()
        members = {column: members[column] for column in self.columns}
        try:
            line = _compact(members).encode()
        except UnicodeEncodeError:
            line = json.dumps(members, separators=(",", ":")).encode()
        return line + b"\n"

    def decode(self, record: bytes) -> Row:
        members = json.loads(record)
        if not isinstance(members, dict) or set(members) != set(self.columns):
            raise ValueError("other members")
        return Row(*[members[column] for column in COLUMNS])._replace(region=members.get("region"))


FORMATS: dict[str, type[Format]] = {"csv": Csv, "tsv": Tsv, "jsonl": Jsonl}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _compact(value)


def _guarded(cell: str) -> str:
    return "'" + cell if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _brief(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage without the single characters."""
    return {
        name: _brief(value) if isinstance(value, dict) else value
        for name, value in stage.items()
        if name != "characters"
    }
