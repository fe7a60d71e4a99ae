"""What `abinet read` finds to read, and what it makes of odd trees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from abinet_client.batch import sources
from abinet_client.batch.lmdb_folder import open_lmdb
from abinet_client.batch.sources import Inputs, Item
from models.data.sets.lmdb import LmdbWriter


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"image")
    return folder


def names(*arguments: str | Path, null: bool = False) -> list[str]:
    return [item.name for item in Inputs([str(argument) for argument in arguments], null=null)]


def relative(folder: Path, *arguments: str | Path) -> list[str]:
    return [os.path.relpath(name, folder) for name in names(*(arguments or [folder]))]


def test_a_folder_is_read_with_all_below_it_in_the_order_of_names(tmp_path: Path) -> None:
    tree(tmp_path, "b/2.png", "a.jpg", "c.TIFF", "b/1.bmp", "b/a/z.webp")
    assert relative(tmp_path) == ["a.jpg", "b/1.bmp", "b/2.png", "b/a/z.webp", "c.TIFF"]


def test_what_is_no_image_by_its_name_is_counted_and_hidden_files_are_not(tmp_path: Path) -> None:
    inputs = Inputs([str(tree(tmp_path, "a.png", "labels.tsv", "notes.txt", ".hidden.png", ".cache/b.png"))])
    assert [item.name for item in inputs] == [str(tmp_path / "a.png")]
    assert inputs.skipped == {".tsv": 1, ".txt": 1}


def test_pictures_that_the_service_does_not_read_are_not_passed_over(tmp_path: Path) -> None:
    inputs = Inputs([str(tree(tmp_path, "a.gif", "b.HEIC", "c.avif", "d.jfif"))])
    assert len(list(inputs)) == 4
    assert not inputs.skipped


def test_a_large_folder_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SORTED_ENTRIES", 3)
    tree(tmp_path, *(f"{number}.png" for number in range(9)))
    assert sorted(relative(tmp_path)) == [f"{number}.png" for number in range(9)]


def test_a_file_that_is_named_is_tried_whatever_it_is_called(tmp_path: Path) -> None:
    tree(tmp_path, "crop", "notes.md")
    assert relative(tmp_path, tmp_path / "crop", tmp_path / "notes.md") == ["crop", "notes.md"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path, "crops/a.png", "more/b.png")
    (tmp_path / "crops" / "there").symlink_to("../more")
    (tmp_path / "more" / "back").symlink_to("../crops")
    (tmp_path / "crops" / "self").symlink_to(".")
    found = ["a.png", "there/b.png"]
    assert relative(tmp_path / "crops") == found
    assert relative(tmp_path / "crops", str(tmp_path / "crops" / "**")) == found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "sub/b.png", "sub/deep/c.png"]),
        ("sub/*", ["sub/b.png", "sub/deep/c.png"]),
        ("s?b/**/c.*", ["sub/deep/c.png"]),
        ("*.gif", []),
    ],
)
def test_a_glob_may_come_unexpanded(tmp_path: Path, pattern: str, found: list[str]) -> None:
    tree(tmp_path, "a.png", "sub/b.png", "sub/deep/c.png", ".hidden.png")
    assert relative(tmp_path, tmp_path / pattern) == found


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    tree(tmp_path, "a[1].png", "a1.png")
    assert relative(tmp_path, tmp_path / "a[1].png") == ["a[1].png"]


def test_a_pipe_in_a_folder_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert [item.error for item in Inputs([str(tmp_path)])] == ["not a regular file"]


def test_a_folder_that_cannot_be_listed_is_an_item_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "a.png", "locked/b.png", "z.png")
    scandir = os.scandir

    def refusing(folder: str) -> Iterator[os.DirEntry[str]]:
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    assert [(Path(item.name).name, item.error) for item in Inputs([str(tmp_path)])] == [
        ("a.png", None),
        ("locked", "Permission denied"),
        ("z.png", None),
    ]


@pytest.mark.parametrize(
    ("content", "null"), [(b"a.png\r\nb \xff.png\n\nc.png", False), (b"a.png\0b \xff.png\0c.png\0", True)]
)
def test_a_list_has_a_path_a_line_or_before_each_nul(tmp_path: Path, content: bytes, null: bool) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    assert names(tmp_path / "list.txt", null=null) == ["a.png", "b \udcff.png", "c.png"]


def test_the_standard_input_is_a_list_and_needs_no_end_to_be_read() -> None:
    program = (
        "from abinet_client.batch.sources import Inputs\nprint(next(iter(Inputs(['-']))).name, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"first.png\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"first.png\n"


def test_an_lmdb_folder_is_read_with_its_labels_wherever_it_is_found(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "sets" / "SVT") as writer:
        writer.write(b"one", "Cat")
        writer.write(b"", "dog")
    folder = str(tmp_path / "sets" / "SVT")
    wanted = [
        Item(f"{folder}:000000001", b"one", folder, "Cat"),
        Item(f"{folder}:000000002", b"", folder, "dog", "no image"),
    ]
    assert list(Inputs([folder])) == list(Inputs([str(tmp_path)])) == wanted


def test_a_broken_lmdb_is_an_item_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 5000)
    (item,) = Inputs([str(tmp_path)])
    assert item.error is not None
    assert "not an LMDB set" in item.error
    with pytest.raises(ValueError, match="not an LMDB set"):
        open_lmdb(str(tmp_path))


def test_counting_agrees_with_reading(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "sub/b.png", "notes.md")
    (tmp_path / "list.txt").write_text("x.png\ny.png\n")
    with LmdbWriter(tmp_path / "set") as writer:
        writer.write(b"one", "cat")
    inputs = Inputs([str(tmp_path), str(tmp_path / "list.txt"), str(tmp_path / "set")])
    assert sum(inputs.count()) == len(list(inputs)) == 6


def test_nothing_that_is_there_is_a_mistake_and_a_single_missing_file_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing: no such file or folder"):
        Inputs([str(tmp_path / "missing")])
    assert relative(tmp_path, tree(tmp_path, "a.png") / "a.png", tmp_path / "b.png") == ["a.png", "b.png"]


def test_a_list_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Inputs([str(tmp_path / "list.txt")])
