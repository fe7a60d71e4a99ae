"""The rows of `abinet read`: three formats, a file that a kill leaves whole, and what goes on from there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abinet_client.batch.labels import Labels, Tally, fold
from abinet_client.batch.output import Output, format_named
from abinet_client.batch.resume import Earlier
from abinet_client.batch.rows import FORMATS, Row
from abinet_client.batch.sources import Item
from models import charset

ODD = 'a,b\t"c"\nd\re\\n\udcff é.png'
STAGE = {"stage": "vision", "text": "ab", "confidence": 0.5, "characters": ({"character": "a"},)}
ROWS = [Row("plain.png", "word", 0.75), Row(ODD, "", 0.5), Row("gone.png", error="No such file, or so")]


def written(path: Path, rows: list[Row], *, detail: bool = False, resume: bool = False) -> list[Row]:
    """Writes the rows; those that were there before."""
    earlier: list[Row] = []
    output = Output(str(path), format_named(None, str(path))(detail), resume=resume, earlier=earlier.append)
    for row in rows:
        output.write(row)
    output.close()
    return earlier


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"rows.{name}"
    written(path, ROWS)
    path.read_bytes().decode()
    back = written(path, [], resume=True)
    assert [row._replace(path="") for row in back] == [row._replace(path="") for row in ROWS]
    escaped = ODD if name == "jsonl" else ODD.replace("\udcff", "\\udcff")
    assert [row.path for row in back] == ["plain.png", escaped, "gone.png"]


@pytest.mark.parametrize("name", ["csv", "tsv"])
@pytest.mark.parametrize(
    "path", ["=1+1", "+1", "-1.png", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-", "'a", "a=1"]
)
def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path: Path, name: str, path: str) -> None:
    table = tmp_path / f"rows.{name}"
    written(table, [Row(path, "=text", 0.5), Row("a.png", error="@error")])
    first, second = list(FORMATS[name](False).records(io.BytesIO(table.read_bytes())))[1:]
    assert not re.match(rb'"?[=+\-@\t\r]', first)
    assert b"'=text" in first
    assert b"'@error" in second
    assert written(table, [], resume=True)[0] == Row(path, "=text", 0.5)


def test_a_terminal_is_not_told_what_names_of_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal, open(ours, "rb", buffering=0) as shown:
        monkeypatch.setattr("sys.stdout", terminal)
        output = Output(None, FORMATS["csv"](False))
        output.write(Row("\x1b[2J\x9b1m.png", "word", 0.5))
        output.flush()
        assert b"\\x1b[2J\\x9b1m.png,word" in shown.read(1000)


@given(st.text(st.characters(exclude_characters="\0")), st.text(min_size=1))
def test_any_path_and_any_error_make_one_record(path: str, error: str) -> None:
    for kind in FORMATS.values():
        row = kind(False).decode(kind(False).encode(Row(path, error=error)))
        digests = Earlier()
        digests.add(row)
        digests.seal()
        assert path in digests


def test_csv_is_what_its_readers_expect(tmp_path: Path) -> None:
    written(tmp_path / "rows.csv", ROWS, detail=True)
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["plain.png", ODD.replace("\udcff", "\\udcff"), "gone.png"]
    assert rows[0] == {
        "path": "plain.png",
        "text": "word",
        "confidence": "0.75",
        "error": "",
        "note": "",
        "turned": "",
        "iterations": "",
    }


def test_details_are_json_without_the_characters_in_tables_and_whole_in_jsonl(tmp_path: Path) -> None:
    row = Row("a.png", "ab", 0.5, turned=270, iterations=[STAGE])
    for name in FORMATS:
        written(tmp_path / f"rows.{name}", [row], detail=True)
    turned, iterations = (tmp_path / "rows.tsv").read_text().splitlines()[1].split("\t")[5:]
    assert turned == "270"
    assert json.loads(iterations) == [{"stage": "vision", "text": "ab", "confidence": 0.5}]
    assert json.loads((tmp_path / "rows.jsonl").read_text())["iterations"][0]["characters"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"rows.{name}"
    written(path, ROWS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        done = len(written(path, [], resume=True))
        written(path, ROWS[done:], resume=True)
        assert path.read_bytes() == whole


def test_a_file_with_rows_is_not_overwritten(tmp_path: Path) -> None:
    written(tmp_path / "rows.csv", ROWS)
    with pytest.raises(ValueError, match="exists already; --resume"):
        written(tmp_path / "rows.csv", ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "path,text\nx,y\n"), ("a.csv", "path,text,confidence,error\nx\n"), ("a.jsonl", '{"a":1}\n')],
)
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}: "):
        written(tmp_path / name, ROWS, resume=True)
    assert (tmp_path / name).read_text() == content


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    path = str(tmp_path / "rows.csv")
    output = Output(path, FORMATS["csv"](False))
    with pytest.raises(ValueError, match="being written by another process"):
        Output(path, FORMATS["csv"](False), resume=True)
    output.close()


def test_an_ending_that_says_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="--format"):
        format_named(None, "rows.dat")
    assert format_named("csv", "rows.dat") is FORMATS["csv"]


def test_earlier_rows_are_found_and_compared_with_labels() -> None:
    earlier = Earlier()
    for number in range(1000):
        earlier.add(Row(f"{number}.png", f"Word-{number}", 0.5))
    earlier.add(Row("gone.png", error="gone"))
    earlier.seal()
    assert all(f"{number}.png" in earlier for number in range(1000))
    assert "1000.png" not in earlier
    assert (earlier.reads("7.png", "word7"), earlier.reads("7.png", "word8")) == (True, False)
    assert earlier.reads("gone.png", "word") is None
    assert earlier.failed == 1


def test_labels_are_found_by_the_tables_folder_the_read_folder_or_the_path(tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_bytes(
        b"\xef\xbb\xbfcrops/a.png\tA\r\nb.png\tB\r\n/else/c.png\tC\nno tab\n"
    )
    labels = Labels(str(tmp_path / "labels.tsv"))
    crops = tmp_path / "crops"
    found = [labels.of(Item(name, name, str(crops))) for name in (f"{crops}/a.png", f"{crops}/b.png")]
    assert found == ["A", "B"]
    assert labels.of(Item("/else/c.png", "", "/else")) == "C"
    assert labels.of(Item(f"{crops}/d.png", "", str(crops))) is None


@given(st.text())
def test_labels_are_folded_as_the_evaluation_folds_them(text: str) -> None:
    assert fold(text) == charset.fold(text)


def test_only_readable_crops_with_usable_labels_count() -> None:
    tally = Tally()
    for label, right in (("cat", True), ("dog", False), ("cow", None), ("", True), ("x" * 26, True)):
        tally.add(label, right)
    assert str(tally).startswith(
        "accuracy: 50.00 % (1 of 2 labelled crops; left out: 1 unreadable, 2 without"
    )
