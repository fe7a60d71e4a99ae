"""Regions of photos: `Client.read_regions`, and `abinet read photos --regions LABELS` as a user calls it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from abinet_client import BadImage, InvalidRequest
from abinet_client.batch.region_files import RegionFiles, TextRegion
from abinet_client.batch.sources import Item
from service.cli import main
from service.engines.simulated import TEXT
from tests.support.both_clients import Connect, both_clients
from tests.support.tiny_service import encoded

PHOTO = np.random.default_rng(7).integers(0, 256, (300, 400, 3), np.uint8)
QUAD = [[10.0, 20.0], [100.0, 20.0], [100.0, 44.0], [10.0, 44.0]]
slow = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(folder / f"img_{number}.png"), PHOTO)
    return folder


@pytest.fixture
def icdar(tmp_path: Path) -> Path:
    folder = tmp_path / "gt"
    folder.mkdir()
    one = (
        f"\ufeff10,20,100,20,100,44,10,44,{TEXT}\r\n0,0,9,0,9,9,0,9,###\r\n0,0,40,40,40,0,0,40,Cross,ing\r\n"
    )
    (folder / "gt_img_1.txt").write_text(one, encoding="utf-8")
    (folder / "gt_img_2.txt").write_text('10, 20, 100, 44, "other"\n')
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_icdars_lines_are_quadrilaterals_or_boxes_with_a_text_or_none(tmp_path: Path) -> None:
    (tmp_path / "gt_a.txt").write_text(
        '1,2,3,4,5,6,7,8,one, two\n-1 2.5 3 4 5 6 7 8\n38, 43, 920, 215, "Ti\\"red"\n'
    )
    assert RegionFiles(str(tmp_path)).of(Item("x/a.jpg")) == [
        TextRegion(0, [[1, 2], [3, 4], [5, 6], [7, 8]], "one, two"),
        TextRegion(1, [[-1, 2.5], [3, 4], [5, 6], [7, 8]], None),
        TextRegion(2, [[38, 43], [920, 43], [920, 215], [38, 215]], 'Ti"red'),
    ]
    (tmp_path / "gt_b.txt").write_text("1,2,3\n")
    with pytest.raises(ValueError, match="line 1 is not"):
        RegionFiles(str(tmp_path)).of(Item("b.jpg"))
    with pytest.raises(ValueError, match=r"has no gt_c\.txt"):
        RegionFiles(str(tmp_path)).of(Item("c.jpg"))


def test_a_file_that_is_neither_form_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a.png\tHarbour\n")
    with pytest.raises(ValueError, match="PaddleOCR"):
        RegionFiles(str(tmp_path / "labels.txt"))


def test_the_lines_of_a_photo_that_is_listed_twice_are_joined(tmp_path: Path) -> None:
    labels = tmp_path / "det.txt"
    lines = [f"a.png\t{json.dumps([{'transcription': text, 'points': QUAD}])}\n" for text in "xyx"]
    labels.write_text("".join(lines))
    assert RegionFiles(str(labels)).of(Item("a.png", str(tmp_path))) == [
        TextRegion(0, QUAD, "x"),
        TextRegion(1, QUAD, "y"),
    ]


def test_a_coordinate_that_is_no_number_is_a_fault_of_its_photo_alone(tmp_path: Path) -> None:
    labels = tmp_path / "det.txt"
    labels.write_text('a.png\t[{"points": [[NaN, 1], [2, 1], [2, 2], [1, 2]]}]\nb.png\t[]\n')
    files = RegionFiles(str(labels))
    with pytest.raises(ValueError, match="no JSON list of objects with points"):
        files.of(Item("a.png", str(tmp_path)))
    assert files.of(Item("b.png", str(tmp_path))) == []


def test_a_photo_that_is_listed_in_another_place_is_named_in_the_error(tmp_path: Path) -> None:
    labels = tmp_path / "det.txt"
    labels.write_text("/elsewhere/photos/a.png\t[]\nphotos\\b.png\t[]\n")
    files = RegionFiles(str(labels))
    with pytest.raises(ValueError, match=r"does not list it, but /elsewhere/photos/a\.png$"):
        files.of(Item("photos/a.png"))
    with pytest.raises(ValueError, match=r"does not list it, but photos\\b\.png$"):
        files.of(Item("photos/b.png"))
    with pytest.raises(ValueError, match=r"does not list it$"):
        files.of(Item("photos/c.png"))


def test_a_folder_without_icdars_files_is_refused(photos: Path) -> None:
    with pytest.raises(ValueError, match=r"a folder without ICDAR's gt_NAME\.txt"):
        RegionFiles(str(photos))


@slow
def test_photos_without_regions_and_regions_without_photos_are_counted(
    photos: Path, icdar: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (icdar / "gt_img_2.txt").write_text("")
    (icdar / "gt_img_9.txt").write_text("1,2,3,4,5,6,7,8,x\n")
    assert main(["read", str(photos), "--regions", str(icdar), "--url", url, "-o", "/dev/null"]) == 1
    said = capsys.readouterr().err
    assert "1 photos without a legible region" in said
    assert f"1 photos of {icdar} are not among them" in said


@slow
@both_clients
def test_each_region_has_its_reading_or_its_own_error(connect: Connect, url: str) -> None:
    crossing = [[0, 0], [40, 40], [40, 0], [0, 40]]
    asked: list[Any] = [
        np.array(QUAD, np.float32),
        (10, 20, 90, 24),
        np.array([10, 20, 90, 24], np.float32),
        crossing,
    ]
    with connect(url) as client:
        outcomes = client.read_regions(encoded(PHOTO), asked, iterations=0)
        assert [outcome.reading.text for outcome in outcomes if outcome.reading] == [TEXT] * 3
        assert isinstance(outcomes[3].error, BadImage)
        assert "crosses itself" in str(outcomes[3].error)
        assert outcomes[3].region is crossing
        assert len(client.read_regions(encoded(PHOTO), [QUAD] * 70)) == 70
        assert len(client.read_regions(encoded(PHOTO), [QUAD] * 70, batch_size=70)) == 70
        assert client.read_regions(encoded(PHOTO), []) == []
        with pytest.raises(BadImage):
            client.read_regions(b"hello", [QUAD])
        with pytest.raises(ValueError, match="coordinate"):
            client.read_regions(encoded(PHOTO), [(0, 0, float("nan"), 5)])


@slow
def test_every_region_of_icdars_files_has_a_row(
    photos: Path, icdar: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.csv"
    command = ["read", str(photos), "--regions", str(icdar), "--url", url, "-o", str(output)]
    assert main(command) == 1
    found = [(Path(row["path"]).name, row["region"], row["text"]) for row in rows(output)]
    assert found == [("img_1.png", "0", TEXT), ("img_1.png", "2", ""), ("img_2.png", "0", TEXT)]
    assert json.loads(rows(output)[0]["points"]) == QUAD
    assert "crosses itself" in rows(output)[1]["error"]
    assert "1 of 2 labelled crops" in capsys.readouterr().err
    whole = output.read_bytes()
    output.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    assert main([*command, "--resume"]) == 1
    assert output.read_bytes() == whole
    assert "1 of 2 labelled crops" in capsys.readouterr().err


@slow
def test_paddles_file_names_photos_and_their_regions(photos: Path, url: str, tmp_path: Path) -> None:
    labels = tmp_path / "det.txt"
    listed = [{"transcription": TEXT, "points": QUAD}, {"transcription": "###", "points": QUAD}]
    labels.write_text(f"photos/img_1.png\t{json.dumps(listed)}\n")
    output = tmp_path / "rows.jsonl"
    assert main(["read", str(photos), "--regions", str(labels), "--url", url, "-o", str(output)]) == 1
    first, second = map(json.loads, output.read_text().splitlines())
    assert (first["region"], first["points"], first["text"]) == (0, QUAD, TEXT)
    assert (second["region"], second["text"]) == (None, None)
    assert "does not list it" in second["error"]


@slow
@both_clients
def test_a_lexicon_and_alternatives_are_typed(connect: Connect, url: str) -> None:
    with connect(url) as client:
        reading = client.read(encoded(PHOTO), lexicon=[TEXT, "other"], alternatives=2)
        assert reading.lexicon
        assert reading.lexicon.word == TEXT
        assert reading.alternatives[0].text == TEXT
        (outcome,) = client.read_regions(encoded(PHOTO), [QUAD], lexicon=["other", TEXT])
        assert outcome.result().lexicon == reading.lexicon
        many = list(client.read_many([encoded(PHOTO)] * 3, lexicon=(TEXT,), alternatives=1))
        assert [len(outcome.result().alternatives) for outcome in many] == [1, 1, 1]
        with pytest.raises(InvalidRequest, match="there is no 'towns'"):
            client.read(encoded(PHOTO), lexicon="towns")


@slow
def test_the_table_has_the_word_of_a_lexicon_and_the_alternatives(
    photos: Path, url: str, tmp_path: Path
) -> None:
    words, output = tmp_path / "words.txt", tmp_path / "rows.csv"
    words.write_text(f"other\n\n{TEXT.upper()}\n")
    command = ["read", str(photos), "--url", url, "--lexicon", str(words), "--alternatives", "2"]
    assert main([*command, "-o", str(output)]) == 0
    first, _ = rows(output)
    assert first["word"] == TEXT.upper()
    assert 0 <= float(first["none_probability"]) <= 1 - float(first["word_probability"]) + 1e-5
    assert json.loads(first["alternatives"])[0]["text"] == TEXT
    assert main([*command, "-o", str(output), "--resume"]) == 0


@slow
def test_the_report_shows_regions_and_the_lexicons_word(
    photos: Path, icdar: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, report = tmp_path / "words.txt", tmp_path / "report.html"
    words.write_text(f"{TEXT}\nother\n")
    command = ["read", str(photos), "--regions", str(icdar), "--url", url, "-o", str(tmp_path / "rows.csv")]
    assert main([*command, "--lexicon", str(words), "--report", str(report)]) == 1
    page = report.read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.count("width=180") == 2  # 90 x 24 pixels of the photo, twice as large
    assert "img_1.png</code>, region 2" in page
    assert page.count(f"of the lexicon <b>{TEXT}</b>") == 2
    said = capsys.readouterr().err
    assert "accuracy: 50.00 % (1 of 2 labelled crops" in said
    assert "of this run, the lexicon's words: accuracy: 50.00 % (1 of 2 labelled crops" in said


@slow
def test_detected_regions_have_the_labels_of_the_ground_truth_in_the_same_places(
    photos: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, truth = tmp_path / "found.txt", tmp_path / "truth"
    nearly = [[12, 21], [101, 21], [101, 45], [12, 45]]
    elsewhere = [[200, 200], [290, 200], [290, 230], [200, 230]]
    unreadable = [[300, 20], [390, 20], [390, 50], [300, 50]]
    listed = [{"transcription": "", "points": points} for points in (nearly, elsewhere, unreadable)]
    found.write_text("".join(f"photos/img_{number}.png\t{json.dumps(listed)}\n" for number in (1, 2)))
    truth.mkdir()
    (truth / "gt_img_1.txt").write_text(f"10,20,100,44,{TEXT}\n300,20,390,50,###\n")
    command = ["read", str(photos), "--regions", str(found), "--labels", str(truth), "--url", url]
    assert main([*command, "-o", str(tmp_path / "rows.csv")]) == 0
    assert len(rows(tmp_path / "rows.csv")) == 6
    assert "accuracy: 100.00 % (1 of 1 labelled crops)" in capsys.readouterr().err


def test_what_ray_cannot_do_is_one_line_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "--ray", "photos", "-o", "out", "--lexicon", "words.txt"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--lexicon is not for --ray: start the service on the cluster" in said


@slow
def test_what_regions_cannot_be_is_said_before_the_work(photos: Path, icdar: Path, tmp_path: Path) -> None:
    crops = tmp_path / "labels.tsv"
    crops.write_text("a.png\tword\n")
    assert main(["read", str(photos), "--regions", str(icdar), "--labels", str(crops)]) == 2
    assert main(["read", str(photos), "--regions", "nowhere"]) == 2
