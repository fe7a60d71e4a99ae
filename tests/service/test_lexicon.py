"""Words of a list and further readings, by the network's own probabilities."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.cli import main
from service.errors import ServiceError
from service.http.schemas import BatchResult, ReadResult
from service.reading.lexicon import Lexicon, alternatives, log_probabilities, read_lexicons
from tests.support.tiny_service import ServiceProcess, crop, encoded, problem, service, tiny_bundle

FIELD_LEXICONS = Path(__file__).parents[2] / "benchmarks" / "field_lexicons.py"
CHARSET = "abcdefghijklmnopqrstuvwxyz1234567890"
FEW, STEPS = "ab", 4
slow = pytest.mark.slow


def logits(count: int, steps: int = 26, classes: int = 37, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (count, steps, classes)).astype(np.float32)


def probability_of(text: str, of_crop: np.ndarray, charset: str) -> float:
    logs = log_probabilities(of_crop)
    classes = [charset.index(character) + 1 for character in text] + [0]
    return float(np.exp(sum(step[index] for step, index in zip(logs, classes, strict=False))))


def all_texts() -> list[str]:
    return ["".join(text) for length in range(STEPS + 1) for text in itertools.product(FEW, repeat=length)]


def test_the_probabilities_of_all_texts_add_up_to_one() -> None:
    (of_crop,) = logits(1, STEPS, 3)
    assert sum(probability_of(text, of_crop, FEW) for text in all_texts()) == pytest.approx(1)


def test_a_lexicon_favours_its_likeliest_word_and_says_how_likely_none_is() -> None:
    words = ["a", "ba", "bab", "aab"]
    for of_crop in logits(50, STEPS, 3):
        probabilities = [probability_of(word, of_crop, FEW) for word in words]
        (choice,) = Lexicon(words, FEW, STEPS).choose(of_crop[None])
        assert choice.word == words[int(np.argmax(probabilities))]
        assert choice.probability == pytest.approx(max(probabilities), abs=2e-6)
        assert choice.none == pytest.approx(1 - sum(probabilities), abs=2e-5)


def test_words_are_folded_as_labels_are_and_come_back_as_they_were() -> None:
    lexicon = Lexicon(["Café!", "CAFE", "don't", "", "???", "x" * 40], CHARSET, 26)
    assert len(lexicon) == 2
    sure = np.full((2, 26, 37), -20, np.float32)
    for index, text in enumerate(("cafe", "dont")):
        classes = [CHARSET.index(character) + 1 for character in text] + [0] * (26 - len(text))
        sure[index, np.arange(26), classes] = 20
    first, second = lexicon.choose(sure)
    assert (first.word, first.probability, first.none) == ("Café!", 1.0, 0.0)
    assert second.word == "don't"


def test_a_lexicon_without_a_word_that_can_be_read_is_refused() -> None:
    with pytest.raises(ServiceError, match="none of its words"):
        Lexicon(["???", "x" * 27], CHARSET, 26)


def test_alternatives_are_exactly_the_likeliest_readings() -> None:
    for of_crop in logits(50, STEPS, 3, seed=1):
        ranked = sorted(all_texts(), key=lambda text: -probability_of(text, of_crop, FEW))
        found = alternatives(of_crop, FEW, 10)
        assert [one.text for one in found] == ranked[:10]
        for one in found:
            assert one.probability == pytest.approx(probability_of(one.text, of_crop, FEW), abs=1e-6)


def test_alternatives_of_a_full_charset_are_found_in_time_even_if_nothing_is_sure() -> None:
    flat = np.zeros((26, 37), np.float32)
    started = time.perf_counter()
    assert len(alternatives(flat, CHARSET, 10)) == 10
    assert time.perf_counter() - started < 1


def test_ten_thousand_words_for_a_batch_are_chosen_from_in_time() -> None:
    chance = np.random.default_rng(2)
    words = ["".join(chance.choice(list(CHARSET), chance.integers(3, 13))) for _ in range(10_000)]
    lexicon = Lexicon(words, CHARSET, 26)
    started = time.perf_counter()
    assert len(lexicon.choose(logits(64))) == 64
    assert time.perf_counter() - started < 1


def test_lexicons_of_a_folder_are_named_as_their_files(tmp_path: Path) -> None:
    (tmp_path / "towns.txt").write_text("Berlin\n\nRome\n")
    (tmp_path / "notes.md").write_text("none")
    assert {name: len(one) for name, one in read_lexicons(tmp_path, CHARSET, 26).items()} == {"towns": 2}
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="none of its words"):
        read_lexicons(tmp_path, CHARSET, 26)
    with pytest.raises(ValueError, match="No such file"):
        read_lexicons(tmp_path / "nowhere", CHARSET, 26)


def as_json(running: ServiceProcess, route: str = "/v1/read", **body: Any) -> httpx.Response:
    image = base64.b64encode(encoded(crop())).decode()
    images = {"images": [image, image]} if route.endswith("batch") else {"image": image}
    return running.client.post(route, json={**images, **body})


@slow
def test_the_probability_of_the_word_that_is_read_is_that_of_the_last_stage(
    running: ServiceProcess,
) -> None:
    read = running.read().json()
    text = read["text"]
    answer = as_json(running, lexicon=[text.upper()], alternatives=3).json()
    ReadResult.model_validate(answer)
    assert answer["lexicon"]["word"] == text.upper()
    probability = read["iterations"][-1]["fused"]["confidence"]
    assert answer["lexicon"]["probability"] == pytest.approx(probability, abs=1e-5)
    assert answer["lexicon"]["none"] <= 1 - answer["lexicon"]["probability"] + 1e-5
    likeliest = [one["probability"] for one in answer["alternatives"]]
    assert likeliest == sorted(likeliest, reverse=True)
    assert len(likeliest) == 3
    assert likeliest[0] >= probability - 1e-6


@slow
def test_an_answer_without_either_has_neither_member(running: ServiceProcess) -> None:
    assert {"lexicon", "alternatives"}.isdisjoint(running.read().json())


@slow
def test_forms_batches_and_regions_take_a_lexicon_as_well(running: ServiceProcess) -> None:
    expected = as_json(running, lexicon=["harbour", "station"], alternatives=2).json()["lexicon"]
    listed = json.dumps(["harbour", "station"])
    form = running.client.post(
        "/v1/read", files={"image": ("a.png", encoded(crop()))}, data={"lexicon": listed}
    ).json()
    assert form["lexicon"] == expected
    batch = as_json(running, "/v1/read/batch", lexicon=["harbour", "station"], alternatives=2).json()
    BatchResult.model_validate(batch)
    for item in batch["items"]:
        assert item["result"]["lexicon"] == expected
        assert len(item["result"]["alternatives"]) == 2
    regions = as_json(
        running, "/v1/read/regions", lexicon=["harbour", "station"], regions=[{"box": [0, 0, 90, 24]}]
    ).json()
    assert regions["items"][0]["result"]["lexicon"] == expected


@slow
def test_ten_thousand_words_are_taken_and_more_are_refused(running: ServiceProcess) -> None:
    words = [f"word{number}" for number in range(10_000)]
    assert as_json(running, lexicon=words).status_code == 200
    for wrong in ([*words, "more"], [], ["???"], ["x" * 65], "towns", 1, [1]):
        assert problem(as_json(running, lexicon=wrong)) == (422, "invalid-request"), str(wrong)[:20]
    for wrong_count in (-1, 11, "many"):
        assert problem(as_json(running, alternatives=wrong_count)) == (422, "invalid-request")


@slow
def test_a_lexicon_of_the_service_is_named(tmp_path: Path) -> None:
    (tmp_path / "towns.txt").write_text("Berlin\nRome\n")
    with service("--bundle", str(tiny_bundle()), "--lexicons", str(tmp_path)) as running:
        assert running.read(lexicon="towns").json()["lexicon"]["word"] in ("Berlin", "Rome")
        unknown = running.read(lexicon="rivers")
        assert problem(unknown) == (422, "invalid-request")
        assert "the service has towns" in unknown.json()["detail"]
        assert len(as_json(running, lexicon="x" * 100_000).json()["detail"]) < 200
        for name in ("towns", '"towns"', " towns\n"):  # curl takes the quotes away
            image = {"image": ("a.png", encoded(crop()))}
            form = running.client.post("/v1/read", files=image, data={"lexicon": name})
            assert form.json()["lexicon"]["word"] in ("Berlin", "Rome")


@slow
def test_eval_chooses_each_crops_word_from_its_own_list(
    running: ServiceProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(crop(number)))
    (folder / "labels.tsv").write_text("0.png\tOne\n1.png\ttwo\n2.png\tthree\n")
    lists = tmp_path / "lists.jsonl"
    lists.write_text('{"number": 0, "words": ["one"]}\n{"set": "mine", "number": 1, "words": ["other"]}\n')
    command = ["eval", str(running.client.base_url), str(folder), "--lexicons", str(lists)]
    assert main(command) == 0
    assert "with a lexicon: mine 50.00 % (1 of 2 crops)" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["lexicons"]
    assert told == [{"name": "mine", "crops": 2, "right": 1}]
    lists.write_text('{"number": 0, "label": "two", "words": ["one"]}\n')
    assert main(command) == 2
    assert "crop 0 of mine is one, not two" in capsys.readouterr().err
    lists.write_text('{"words": ["one"]}\n')
    assert main(command) == 2


def test_the_lists_of_the_field_come_from_the_files_of_the_sets(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    row = [("ImgName", object), ("GroundTruth", object), ("smallLexi", object), ("mediumLexi", object)]
    rows = np.zeros((1, 2), row)
    for place, word in enumerate(("YOU", "KINGFISHER")):
        small = np.array([[word, "THE"]], object)
        medium = np.array([[word, "THE", "A"]], object)
        rows[0, place] = (f"test/1_{place}.png", word, small, medium)
    io.savemat(tmp_path / "testdata.mat", {"testdata": rows})
    (tmp_path / "test.xml").write_text(SVT)

    def lists(file: str, *options: str) -> list[dict[str, Any]]:
        command = [sys.executable, str(FIELD_LEXICONS), str(tmp_path / file), *options]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [json.loads(line) for line in told.splitlines()]

    assert lists("testdata.mat")[1] == {"number": 1, "label": "KINGFISHER", "words": ["KINGFISHER", "THE"]}
    assert [line["words"] for line in lists("testdata.mat", "--lexicon", "medium")] == [
        ["YOU", "THE", "A"],
        ["KINGFISHER", "THE", "A"],
    ]
    assert lists("test.xml") == [
        {"number": 0, "label": "LIVING", "words": ["LIVING", "ROOM", "HALF"]},
        {"number": 1, "label": "ROOM", "words": ["LIVING", "ROOM", "HALF"]},
        {"number": 2, "label": "DINER", "words": ["DINER"]},
    ]


SVT = """<?xml version="1.0" encoding="utf-8"?>
<tagset>
  <image>
    <imageName>img/14_03.jpg</imageName>
    <address>341 Some Avenue</address>
    <lex>LIVING,ROOM,HALF</lex>
    <Resolution x="1280" y="880"/>
    <taggedRectangles>
      <taggedRectangle height="75" width="236" x="375" y="253"><tag>LIVING</tag></taggedRectangle>
      <taggedRectangle height="76" width="175" x="639" y="272"><tag>ROOM</tag></taggedRectangle>
    </taggedRectangles>
  </image>
  <image>
    <imageName>img/00_01.jpg</imageName>
    <lex>DINER</lex>
    <taggedRectangles>
      <taggedRectangle height="7" width="9" x="1" y="2"><tag>DINER</tag></taggedRectangle>
    </taggedRectangles>
  </image>
</tagset>
"""
