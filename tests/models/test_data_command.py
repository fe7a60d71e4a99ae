"""`abinet data pack`, `stats` and `render --format lmdb`, run as their user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.data.sets.folders import open_set
from service.cli import main
from tests.support.tiny_service import crop, encoded

pytestmark = pytest.mark.slow

GOOD = encoded(crop())
SAMPLES = [
    ("good.png", GOOD, "It's"),
    ("other.png", encoded(crop(1)), "27"),
    ("empty.png", b"", "word"),
    ("cut.png", GOOD[:100], "word"),
    ("wordless.png", GOOD, "?!"),
    ("long.png", GOOD, "a" * 26),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two usable samples, and one unusable for each reason."""
    path = tmp_path / "files"
    path.mkdir()
    for name, image, _ in SAMPLES:
        (path / name).write_bytes(image)
    lines = [f"{name}\t{text}" for name, _, text in SAMPLES] + ["good.png"]
    (path / "labels.tsv").write_text("\n".join(lines))
    return path


def data(*arguments: str | Path) -> int:
    return main(["data", *map(str, arguments)])


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a refused command prints."""
    assert data(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_pack_writes_what_is_usable_as_it_is_stored(folder: Path, tmp_path: Path) -> None:
    assert data("pack", folder, "--output", tmp_path / "set") == 0
    packed = open_set(tmp_path / "set")
    assert [packed.read(index) for index in range(len(packed))] == [
        (image, text) for _, image, text in SAMPLES[:2]
    ]


def test_pack_counts_what_it_skips_by_reason(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data("pack", folder, "--output", tmp_path / "set", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "output": str(tmp_path / "set"),
        "written": 2,
        "skipped": {
            "no image": 1,
            "broken image": 1,
            "empty label": 1,
            "too long label": 1,
            "no label": 1,
        },
    }


def test_pack_says_in_words_what_it_skipped(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "labels.tsv").write_text("good.png\tword\ncut.png\tword\nlost.png\tword\nmissing.png\tword\n")
    assert data("pack", folder, "--output", tmp_path / "set") == 0
    told = capsys.readouterr().out
    assert told == f"{tmp_path / 'set'}: 1 samples; skipped 3: 2 no image, 1 broken image\n"


def test_pack_joins_folders_tables_and_lmdbs(folder: Path, tmp_path: Path) -> None:
    assert data("pack", folder, "--output", tmp_path / "one") == 0
    assert data("pack", folder / "labels.tsv", tmp_path / "one", "--output", tmp_path / "both") == 0
    assert len(open_set(tmp_path / "both")) == 4


def test_pack_without_a_usable_sample_writes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "labels.tsv").write_text("cut.png\tword\n")
    line = complaint(capsys, "pack", folder, "--output", tmp_path / "set")
    assert line.endswith("set: not written, no sample is usable; skipped 1: 1 broken image")
    assert os.listdir(tmp_path) == ["files"]


def test_pack_does_not_write_over_a_set(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "exists already" in complaint(capsys, "pack", folder, "--output", folder)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nowhere", "nowhere: No such file or directory"),
        ("empty", "no data.mdb, *.lmdb or a label file (labels.tsv, "),
        ("files/good.png", "good.png: not UTF-8 text"),
        ("files/words.txt", "words.txt: no labels; a line of them is a file name, a tab"),
        ("damaged", "damaged: not an LMDB set (File is not an LMDB file)"),
    ],
)
def test_a_source_that_is_no_set_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, expected: str
) -> None:
    (tmp_path / "empty").mkdir()
    (folder / "words.txt").write_text("street\n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/data.mdb").write_bytes(bytes(9000))
    assert expected in complaint(capsys, "pack", tmp_path / source, "--output", tmp_path / "set")


def test_pack_leaves_nothing_when_it_is_terminated(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "endless.png")  # reading it waits for a writer, who never comes
    (folder / "labels.tsv").write_text("good.png\tword\nendless.png\tword\n")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "service",
        "data",
        "pack",
        folder,
        "--output",
        tmp_path / "set",
    ]
    with subprocess.Popen(command) as packing:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".set.partial-*/data.mdb")):
            assert time.monotonic() < deadline
            assert packing.poll() is None
            time.sleep(0.02)
        packing.terminate()
        assert packing.wait(60) == 143
    assert os.listdir(tmp_path) == ["files"]


def test_stats_say_what_every_set_holds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data("pack", folder, "--output", tmp_path / "train/ST") == 0
    capsys.readouterr()
    assert data("stats", tmp_path) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{folder}: 7 samples, 2 usable; skipped 5: ")
    assert told[6:] == [
        f"{tmp_path / 'train/ST'}: 2 samples, 2 usable",
        "  label lengths  2 |██| 3",
        "  never seen     01345689abcdefghjklmnopqruvwxyz",
        "  width          90/90/90 pixels (p5/p50/p95)",
        "  height         24/24/24 pixels (p5/p50/p95)",
        "  formats        2 PNG",
    ]


def test_stats_print_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data("stats", folder, "--json") == 0
    (stats,) = json.loads(capsys.readouterr().out)
    assert stats["path"] == str(folder)
    assert (stats["samples"], stats["read"], stats["usable"]) == (7, 7, 2)
    assert sum(stats["skipped"].values()) == 5
    assert stats["lengths"] == {"2": 1, "3": 1}
    assert (stats["width"], stats["height"]) == ([90] * 3, [24] * 3)
    assert stats["formats"] == {"PNG": 2}


def test_stats_of_a_few_samples_are_always_of_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for _ in range(2):
        assert data("stats", folder, "--limit", "3") == 0
        told.append(capsys.readouterr().out)
    assert "7 samples, 3 of them read" in told[0]
    assert told[0] == told[1]


def test_the_sheet_of_stats_shows_the_usable_samples(folder: Path, tmp_path: Path) -> None:
    assert data("stats", folder, "--sheet", tmp_path / "sheet.png") == 0
    sheet = cv2.cvtColor(cv2.imread(str(tmp_path / "sheet.png")), cv2.COLOR_BGR2RGB)
    assert sheet.shape == (64, 8 * 190, 3)
    cells = [sheet[:, column * 190 : (column + 1) * 190] for column in range(8)]
    assert [bool((cell < 255).any()) for cell in cells] == [True, True, *[False] * 6]


@pytest.mark.parametrize("command", ["stats", "render"])
def test_a_sheet_without_a_folder_is_refused_at_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    rest: list[str | Path] = (
        [folder] if command == "stats" else ["--count", "1", "--output", tmp_path / "out"]
    )
    line = complaint(capsys, command, *rest, "--sheet", tmp_path / "none/sheet.png")
    assert line.endswith(f"no folder {tmp_path / 'none'}; make it first")
    assert not (tmp_path / "out").exists()


def test_a_sheet_without_a_usable_sample_is_not_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "labels.tsv").write_text("cut.png\tword\n")
    assert "no sample is usable" in complaint(capsys, "stats", folder, "--sheet", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize("form", ["folder", "lmdb"])
def test_rendering_leaves_a_set_that_is_there_as_it_is(
    fonts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    (tmp_path / "words.txt").write_text("street\nparking\n")
    options: list[str | Path] = [
        "--fonts",
        fonts[0].parent,
        "--words",
        tmp_path / "words.txt",
        "--format",
        form,
    ]
    options += ["--output", tmp_path / "words"]
    assert data("render", "--count", "3", *options) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/words: 3 crops from ")
    for other in ("folder", "lmdb"):
        line = complaint(capsys, "render", "--count", "2", *options, "--format", other)
        assert line == f"abinet: {tmp_path}/words: holds a set already; remove it or choose another name"
    assert len(open_set(tmp_path / "words")) == 3


def test_rendered_words_are_the_same_in_an_lmdb_and_in_files(fonts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("street\nparking\n")
    options: list[str | Path] = [
        "--count",
        "3",
        "--fonts",
        fonts[0].parent,
        "--words",
        tmp_path / "words.txt",
    ]
    assert data("render", *options, "--output", tmp_path / "files") == 0
    assert data("render", *options, "--format", "lmdb", "--output", tmp_path / "set") == 0
    files, packed = open_set(tmp_path / "files"), open_set(tmp_path / "set")
    assert len(files) == len(packed) == 3
    for index in range(3):
        image, label = packed.crop(index)
        np.testing.assert_array_equal(image, files.crop(index)[0])
        assert label == files.crop(index)[1]
