"""Label files of the field beside this project's, and whose labels accuracy is measured by."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from models.data.sets.folders import LabelTable, find_sets, open_set
from models.data.sets.samples import LABELS_OF, UnusableSample
from models.training.recipe import Dataset
from tests.support.tiny_service import crop, encoded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images" / "part").mkdir(parents=True)
    for name in ("word_1.png", "part/word_2.png"):
        (tmp_path / "images" / name).write_bytes(encoded(crop()))
    return tmp_path


def labels(root: Path, table: str, data_dir: str = "images") -> list[str]:
    (root / "train.txt").write_bytes(table.encode())
    dataset = Dataset(dataset_root=root, data_dir=(data_dir,), label_file=("train.txt",))
    (path,) = find_sets(dataset.roots)
    opened = pickle.loads(pickle.dumps(open_set(path)))
    return [opened.crop(number)[1] for number in range(len(opened))]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("word_1.png\tHarbour\npart/word_2.png\tTwo words\n", ["harbour", "twowords"]),
        ('word_1.png, "Harbour"\r\npart/word_2.png, "a \\"b\\", c"\r\n', ["harbour", "abc"]),
        ('\ufeffword_1.png, "Harbour"\n', ["harbour"]),
    ],
    ids=["tab", "icdar", "byte order mark"],
)
def test_the_fields_label_files_are_read(table: str, expected: list[str], root: Path) -> None:
    assert labels(root, table) == expected


def test_file_names_may_count_from_the_root(root: Path) -> None:
    assert labels(root, "images/word_1.png\tone\n", ".") == ["one"]


def test_an_icdar_file_is_a_set_for_every_command(root: Path) -> None:
    (root / "images" / "gt.txt").write_text('word_1.png, "Quay 7"\n')
    assert open_set(root / "images" / "gt.txt").crop(0)[1] == "quay7"


def test_a_label_file_that_is_missing_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.txt: no such file"):
        find_sets([LabelTable(root / "none.txt", root)])


@pytest.mark.parametrize(
    ("text", "ours", "official", "mindocr"),
    [
        ("Café!", "cafe", "caf", "caf"),
        ("ﬁn", "fin", "n", "n"),
        ("It's", "its", "its", "its"),
        ("x" * 26, None, None, "x" * 25),
        ("?!", None, None, ""),
    ],
)
def test_accents_are_folded_and_a_published_number_can_be_compared_by_its_own_labels(
    text: str, ours: str | None, official: str | None, mindocr: str | None
) -> None:
    for name, expected in {"abinet-ascend": ours, "official": official, "mindocr": mindocr}.items():
        if expected is None:
            with pytest.raises(UnusableSample):
                LABELS_OF[name](text)
        else:
            assert LABELS_OF[name](text) == expected
