"""Label files as people have them: every form gives the same crops and texts."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from abinet_client.batch.labels import Labels
from abinet_client.batch.sources import Item
from models.data.sets.folders import find_sets, open_set
from models.data.sets.samples import UnusableSample
from service.cli import main
from tests.support.tiny_service import crop, encoded

pytestmark = pytest.mark.slow

FORMS = {
    "tab": 'word_1.png\tHarbour\nword_2.png\tsay "hi", you\n',
    "ICDAR": 'word_1.png, "Harbour"\r\nword_2.png, "say \\"hi\\", you"\r\n',
    "CSV": 'word_1.png,Harbour\nword_2.png,"say ""hi"", you"\n',
    "CSV with names of columns": 'id,filename,words\n1,word_1.png,Harbour\n2,word_2.png,"say ""hi"", you"\n',
    "CSV all quoted": '"word_1.png","Harbour"\n"word_2.png","say ""hi"", you"\n',
    "tab with columns": 'path\ttext\tconfidence\nword_1.png\tHarbour\t1\nword_2.png\t"say ""hi"", you"\t1\n',
    "JSON lines": '{"file_name": "word_1.png", "text": "Harbour"}\n'
    '{"text": "say \\"hi\\", you", "file_name": "word_2.png"}\n',
}
TEXTS = ["Harbour", 'say "hi", you']


def crops(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"word_{number}.png").write_bytes(encoded(crop()))
    return folder


def texts(path: Path, root: Path | None = None) -> list[str]:
    labelled = open_set(path, root)
    return [labelled.read(index)[1] for index in range(len(labelled))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(tmp_path: Path, form: str, encoding: str) -> None:
    folder = crops(tmp_path / "crops")
    (folder / "gt.txt").write_text(FORMS[form], encoding=encoding, newline="")
    assert find_sets([tmp_path]) == find_sets([folder / "gt.txt"]) == [folder]
    assert texts(folder) == texts(folder / "gt.txt") == TEXTS


@pytest.mark.parametrize("form", FORMS)
def test_abinet_read_takes_the_same_files(tmp_path: Path, form: str) -> None:
    folder = crops(tmp_path / "crops")
    (folder / "gt.txt").write_text(FORMS[form])
    labels = Labels(str(folder / "gt.txt"))
    found = [labels.of(Item(f"{folder}/word_{number}.png", "", str(folder))) for number in (1, 2)]
    assert found == TEXTS


@pytest.mark.parametrize("form", FORMS)
def test_abinet_data_pack_takes_the_same_files(tmp_path: Path, form: str) -> None:
    folder = crops(tmp_path / "crops")
    (folder / "rec_gt_train.txt").write_text(FORMS[form])
    assert main(["data", "pack", str(folder / "rec_gt_train.txt"), "--output", str(tmp_path / "set")]) == 0
    assert texts(tmp_path / "set") == TEXTS


@pytest.mark.parametrize(
    ("table", "prefix"),
    [
        ("train/list.txt", ""),
        ("list.txt", "train/"),
        ("train/list.txt", "data/train/"),
        ("list.txt", "data/train/"),
    ],
)
def test_paths_are_relative_to_the_file_the_working_folder_or_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, prefix: str
) -> None:
    crops(tmp_path / "data/train")
    path = tmp_path / "data" / table
    path.write_text("".join(f"{prefix}word_{n}.png\t{text}\n" for n, text in enumerate(TEXTS, 1)))
    assert texts(path) == TEXTS
    monkeypatch.chdir(tmp_path)
    assert texts(path.relative_to(tmp_path)) == TEXTS
    labels = Labels(str(path))
    assert labels.of(Item("data/train/word_1.png", "", "data/train")) == TEXTS[0]


def test_another_root_may_be_given_and_travels_to_other_processes(tmp_path: Path) -> None:
    crops(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/list.txt").write_text(FORMS["tab"])
    labelled = open_set(tmp_path / "labels/list.txt", tmp_path / "images")
    assert pickle.loads(pickle.dumps(labelled)).read(1) == labelled.read(1)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("word_1.png Harbour", "no labels; a line of them is a file name, a tab and a text"),
        ('photo.jpg\t[{"transcription": "Harbour", "points": [[0, 0]]}]', "labels of regions in photos"),
        ('{"id": 7}', "no labels"),
        ("", "no labels"),
    ],
)
def test_a_file_of_no_known_form_is_refused_with_the_forms(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(ValueError, match=f"list.txt: {complaint}"):
        open_set(tmp_path / "list.txt")


@pytest.mark.parametrize("line", ["word_9.png", "word_9.png,", '{"file_name": "word_9.png"}', "{broken"])
def test_a_line_without_a_text_is_a_sample_without_a_label(tmp_path: Path, line: str) -> None:
    first = '{"path": "word_1.png", "label": "a"}' if line.startswith("{") else "word_1.png,a"
    (tmp_path / "list.txt").write_text(f"{first}\n{line}\n")
    with pytest.raises(UnusableSample, match="no"):
        open_set(tmp_path / "list.txt").read(1)
