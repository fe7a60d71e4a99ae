"""Rows as CSV or JSONL, in the columns of `abinet read`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import NamedTuple

FORMATS = ("csv", "jsonl")


class Row(NamedTuple):
    """What was read of a file: text and confidence, 0 to 1, or the error why not."""

    path: str
    text: str | None = None
    confidence: float | None = None
    error: str | None = None


def encoded(rows: Iterable[Row], format: str) -> bytes:
    """A whole table. CSV has a header; a JSONL row leaves nothing out, null is what it has not."""
    table = io.StringIO()
    if format == "jsonl":
        table.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)
    else:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)
    return table.getvalue().encode()
