"""Language data from running text: what `abinet data text` counts, and the stage that learns from it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from models.charset import encode
from models.training.misreadings import BUNDLED, Misreadings
from models.training.spelling import SpellingBatches, Vocabulary
from service.cli import main
from tests.support.tiny_training import TINY

pytestmark = pytest.mark.slow

WIKITEXT = """ = Valkyria Chronicles III = \n
 Senjō no Valkyria 3 : <unk> Chronicles ( Japanese : 3 , lit . Valkyria of the Battlefield 3 ) @-@ \n
 supercalifragilisticexpialidocious the the \n"""


def counted(folder: Path, content: bytes, name: str = "wiki.train.tokens") -> dict[str, int]:
    (folder / name).write_bytes(content)
    assert main(["data", "text", str(folder / name), "--output", str(folder / "words.tsv")]) == 0
    rows = (line.split("\t") for line in (folder / "words.tsv").read_text().splitlines())
    return {word: int(times) for word, times in rows}


def test_words_are_counted_as_labels_and_the_rest_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = counted(tmp_path, WIKITEXT.encode())
    assert list(words.items())[:3] == [("valkyria", 3), ("3", 3), ("the", 3)]
    assert words["senjo"] == 1
    assert "unk" not in words
    said = capsys.readouterr().out
    assert f"words.tsv: {sum(words.values())} words, {len(words)} different; left out: 9 without" in said
    assert "1 longer than 25, 1 <unk>" in said


def test_the_official_table_counts_its_words_as_written(tmp_path: Path) -> None:
    assert counted(tmp_path, b"inp\tgt\nthe\tthe\ntqe\tthe\n", "WikiText-103.csv") == {"the": 2}


def test_compressed_text_is_text(tmp_path: Path) -> None:
    assert counted(tmp_path, gzip.compress(b"to be or not to be"), "hamlet.gz")["be"] == 2


@pytest.mark.parametrize(
    ("content", "fault"), [(b"\xff\xfe\x00", "not UTF-8 text"), (b"?! ...", "no word of 0-9 and a-z")]
)
def test_what_is_no_text_is_refused_in_one_line(
    content: bytes, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_bytes(content)
    assert main(["data", "text", str(tmp_path / "text"), "--output", str(tmp_path / "words.tsv")]) == 2
    assert fault in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "words.tsv").exists()


def test_the_papers_language_stage_is_clean_words_as_often_as_written(tmp_path: Path) -> None:
    counted(tmp_path, b"the " * 300 + b"cat " * 100)
    vocabulary = Vocabulary.from_file(tmp_path / "words.tsv")
    misreadings = Misreadings.from_file(BUNDLED)
    source = SpellingBatches(vocabulary, None, misreadings, TINY, 4096, 1, clean=1.0, running_text=1.0)
    inputs, labels, _, _ = source.open()(0)
    np.testing.assert_array_equal(inputs.argmax(-1), labels)
    the = (labels == encode(["the"], TINY.charset, TINY.steps)[0]).all(axis=1).mean()
    assert the == pytest.approx(0.75, abs=0.05)
