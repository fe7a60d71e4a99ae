"""`abinet eval`: what counts as right, the field's table, and that every engine measures the same."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from export.exporter import SAMPLES
from models.abinet import NetworkConfig
from models.charset import DecodedText, decode, encode
from models.data.sets.folders import open_set
from models.data.sets.lmdb import LmdbWriter
from models.data.sets.samples import decode_crop
from models.evaluation.error_sheet import COLUMNS, ROWS, align, error_sheet, worst
from models.evaluation.reading import CropReader, LabelledCrop, Refusal, StagedReading, Turns
from models.evaluation.report import (
    averages,
    in_field_order,
    markdown_table,
    reliability_of,
    text_reliability,
    text_table,
    to_json,
)
from models.evaluation.scoring import Judgement, Mistake, SetScore, is_right, reads, score_set
from service.bundled import NAME
from service.cli import main
from service.commands.evaluate.service_reader import ServiceReader
from service.commands.evaluate.sources import open_reader
from service.engines.process import module_command
from service.image_decoding.preprocess import decode_image
from tests.support.processes import child_pids
from tests.support.tiny_service import crop, encoded, service, tiny_checkpoint

pytestmark = pytest.mark.slow

CHECKPOINT = SAMPLES.parent / f"{NAME}.ckpt"
CONFIG = NetworkConfig()
ITERATIONS = CONFIG.iterations


def classes_of(*texts: str) -> np.ndarray:
    return encode(texts, CONFIG.charset, CONFIG.steps)[0]


def logits_of(*texts: str) -> np.ndarray:
    return np.eye(CONFIG.classes, dtype=np.float32)[classes_of(*texts)]


def reading(*texts: str, confidence: float = 0.5) -> StagedReading:
    """What the stages read; the last text stands for all that follow."""
    filled = [*texts, *[texts[-1]] * (1 + 2 * ITERATIONS - len(texts))]
    return StagedReading.of((DecodedText(text, 0.5) for text in filled), confidence)


def labelled(folder: Path, rows: Iterable[tuple[str, bytes, str]]) -> Path:
    """A set of files with their labels."""
    folder.mkdir(parents=True)
    lines = []
    for name, image, label in rows:
        (folder / name).write_bytes(image)
        lines.append(f"{name}\t{label}\n")
    (folder / "labels.tsv").write_text("".join(lines))
    return folder


def small_set(folder: Path, *labels: str) -> Path:
    return labelled(folder, [(f"{i}.png", encoded(crop(i)), label) for i, label in enumerate(labels)])


class Says:
    """A reader that says what it was told to, in the order of the crops."""

    model, engine, iterations, calibrated = "parrot", "none", ITERATIONS, True
    turns: Turns = "none"

    def __init__(self, *said: StagedReading | Refusal) -> None:
        self._said = said

    def read(self, crops: Iterable[LabelledCrop]) -> Iterator[StagedReading | Refusal]:
        for result, _ in zip(self._said, crops, strict=True):
            yield result


# What counts as right.


def test_a_reading_is_right_only_where_every_character_and_the_stop_are() -> None:
    labels = classes_of("cat", "cat", "cat")
    logits = logits_of("cat", "cats", "car")
    logits[0, 7] = np.eye(CONFIG.classes)[5]  # what follows the stop does not count
    assert is_right(logits, labels).tolist() == [True, False, False]


def test_logits_and_their_text_are_right_together() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 3, CONFIG.classes))
    logits[..., 0] += 3
    texts = [word.text for word in decode(logits, CONFIG.charset)]
    labels = classes_of(*(text if i % 2 else "x" for i, text in enumerate(texts)))[:, :3]
    assert is_right(logits, labels).tolist() == [
        reads(text, text if i % 2 else "x") for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize("text", ["Caf4", "CAF-4", "caf 4!"])
def test_case_and_punctuation_do_not_count(text: str) -> None:
    assert reads(text, "caf4")


# Scores and tables.


def test_each_stage_is_scored_and_the_last_one_makes_the_mistakes(tmp_path: Path) -> None:
    reader = Says(reading("cat", "cat", "car"), reading("bog", "dog", "Dog!"))
    score = score_set(reader, small_set(tmp_path / "SVT", "Cat", "dog"))
    assert score.accuracy.tolist() == [0.5, 1, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert [(mistake.number, mistake.label) for mistake in score.mistakes] == [(0, "cat")]


def test_what_cannot_be_read_is_skipped_and_counted_by_reason(tmp_path: Path) -> None:
    image = encoded(crop())
    folder = labelled(
        tmp_path / "set",
        [("a.png", image, "cat"), ("b.png", image, "!?"), ("c.txt", b"no image", "dog"),
         ("d.png", image, "x" * 26), ("e.png", image, "cat")],
    )  # fmt: skip
    score = score_set(Says(reading("cat"), Refusal("Too large")), folder)
    assert score.crops == 1
    assert score.skipped == Counter(
        {"empty label": 1, "broken image": 1, "too long label": 1, "refused by the service: Too large": 1}
    )


def test_a_limit_takes_the_first_crops(tmp_path: Path) -> None:
    ticks: list[None] = []
    folder = small_set(tmp_path / "set", "cat", "!?", "dog", "cow")
    score = score_set(Says(reading("cat"), reading("dog")), folder, 3, lambda: ticks.append(None))
    assert (score.crops, len(ticks)) == (2, 3)


def scored(name: str, right: int, crops: int) -> SetScore:
    """Vision reads none, language a quarter, fused `right` of the crops."""
    counts = [0] + [crops // 4, right] * ITERATIONS
    return SetScore(name, Path(name), np.array(counts), crops)


def test_the_fields_sets_come_in_the_fields_order_and_then_others_by_name() -> None:
    names = ["zoo", "CUTE80", "SVTP", "art", "IC13_1015", "IIIT5K_3000", "IC03_860", "SVT", "IC13_857"]
    assert [score.name for score in in_field_order([scored(name, 0, 1) for name in names])] == [
        "IC03_860", "IC13_857", "IC13_1015", "IIIT5K_3000", "SVT", "SVTP", "CUTE80", "art", "zoo",
    ]  # fmt: skip


def test_one_average_counts_sets_and_the_other_crops() -> None:
    by_sets, by_crops = averages([scored("SVT", 8, 8), scored("CUTE80", 0, 24)])
    assert (by_sets.accuracy[-1], by_crops.accuracy[-1]) == (0.5, 0.25)
    assert by_sets.name == "average of 2 sets"


def test_a_set_of_which_nothing_was_read_is_shown_but_not_averaged() -> None:
    unread = SetScore("CUTE80", Path("CUTE80"), np.zeros(7, int), 0, Counter({"broken image": 4}))
    scores = [scored("SVT", 6, 8), unread]
    table = text_table(Says(), scores)
    assert "CUTE80: 4 skipped: 4 x broken image" in table
    assert "average of 1 sets" in table
    assert to_json(Says(), scores)["sets"][1]["accuracy"] is None
    with pytest.raises(ValueError, match=r"no crop could be read \(CUTE80: 4 skipped"):
        text_table(Says(), [unread])


def test_the_table_has_vision_and_every_iteration_in_per_cent() -> None:
    lines = text_table(Says(), [scored("SVT", 6, 8), scored("CUTE80", 2, 8)]).splitlines()
    assert lines[2].split()[:3] == ["set", "crops", "vision"]
    assert lines[3].split() == ["SVT", "8", "0.00", "75.00", "75.00", "75.00"]
    assert len({len(line) for line in lines[2:]}) == 1


def test_sets_of_one_name_are_told_apart_by_their_paths() -> None:
    one, other = scored("words", 1, 4), scored("words", 2, 4)
    one.path, other.path = Path("a/words"), Path("b/words")
    assert [line.split()[0] for line in text_table(Says(), [one, other]).splitlines()[3:5]] == [
        "a/words",
        "b/words",
    ]


def test_markdown_is_a_table_of_the_same_numbers() -> None:
    table = markdown_table(Says(), [scored("SVT", 6, 8)])
    assert "| SVT | 8 | 0.00 | 75.00 | 75.00 | 75.00 |" in table.splitlines()


def test_json_has_the_language_model_too() -> None:
    document = json.loads(json.dumps(to_json(Says(), [scored("SVT", 6, 8)])))
    assert document["sets"][0]["accuracy"] == {"vision": 0, "language": [0.25] * 3, "fused": [0.75] * 3}
    assert set(document["average"]) == {"sets", "crops"}


def test_the_reliability_table_has_all_crops_and_what_remains_at_a_precision() -> None:
    one, other = scored("SVT", 6, 8), scored("CUTE80", 0, 2)
    one.outcomes = [Judgement(0.9, True)] * 6 + [Judgement(0.5, False)] * 2
    other.outcomes = [Judgement(0.1, False)] * 2
    text = text_reliability(True, reliability_of([one, other]))
    assert text.startswith("Confidence (calibrated) in per cent: expected calibration error 18.00 over")
    assert text.splitlines()[4].split() == ["10.00", "-", "10.00", "1", "10.00", "0.00"]
    assert "99 % right: 60.00 % of the crops, those of confidence 0.900000 and more" in text
    assert "98 % right: no crop" in text_reliability(False, reliability_of([other]))


# The sheet of errors.


def test_the_most_confident_errors_come_first() -> None:
    mistakes = [Mistake(Path("x"), i, "cat", reading("car", confidence=i / 100)) for i in range(99)]
    assert [mistake.number for mistake in worst(mistakes)] == list(range(98, 98 - COLUMNS * ROWS, -1))


@pytest.mark.parametrize(
    ("label", "text", "shown"),
    [
        ("house", "housel", ("house_", "housel")),
        ("flicker", "flickr", ("flicker", "flick_r")),
        ("source", "souree", ("source", "souree")),
        ("cat", "", ("cat", "___")),
    ],
)
def test_label_and_reading_stand_under_each_other(label: str, text: str, shown: tuple[str, str]) -> None:
    upper, lower = zip(*align(label, text), strict=True)
    assert ("".join(upper), "".join(lower)) == shown


def test_the_sheet_shows_the_crops_of_its_errors(tmp_path: Path) -> None:
    folder = small_set(tmp_path / "SVT", "cat", "dog")
    sheet = error_sheet("parrot", [Mistake(folder, 1, "dog", reading("dogs"))])
    shown = sheet[44 : 44 + 48, 8 : 8 + 180]  # 24 x 90 pixels, doubled
    np.testing.assert_array_equal(shown, cv2.resize(open_set(folder).crop(1)[0], (180, 48)))


# Every engine measures the same.


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


TURNED = (90, 180, 270)


def telescope() -> np.ndarray:
    image = cv2.imread(str(SAMPLES / "telescope.png"))
    assert image is not None
    return image


def odd_images() -> dict[str, bytes]:
    """A word in an image of every kind that a set may hold."""
    image = Image.open(SAMPLES / "harmony.png").convert("RGB")
    rgb = np.asarray(image)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    alpha = np.full(rgb.shape[:2], 100, np.uint8)
    return {
        "grey.png": encoded(rgb[..., 0]),
        "alpha.png": saved(Image.fromarray(np.dstack([rgb, alpha])), "PNG"),
        "palette.png": saved(image.convert("P"), "PNG"),
        "deep.png": encoded(rgb.astype(np.uint16) * 257),
        "turned.jpg": saved(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif),
        "lossy.webp": saved(image, "WEBP"),
        "plain.tiff": saved(image, "TIFF"),
        "plain.bmp": saved(image, "BMP"),
    }


@pytest.mark.parametrize("name", odd_images())
def test_sets_and_service_decode_the_same_pixels(name: str) -> None:
    body = odd_images()[name]
    np.testing.assert_array_equal(decode_crop(body), decode_image(body, 1_000_000))


def noisy(image: Path, scale: int) -> np.ndarray:
    """The image, enlarged, under noise that only averaging takes away."""
    enlarged = cv2.resize(cv2.imread(str(image)), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 120, enlarged.shape)
    return np.clip(enlarged + noise, 0, 255).astype(np.uint8)


def export(python: str | Path, checkpoint: Path, bundle: Path) -> Path:
    command = [*module_command(str(python), "export"), str(checkpoint), "--output", str(bundle)]
    subprocess.run(command, check=True, capture_output=True)
    return bundle


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's weights, with all that a sidecar may ask of those who read crops."""
    copy = tmp_path_factory.mktemp("checkpoints") / CHECKPOINT.name
    shutil.copy(CHECKPOINT, copy)
    sidecar = json.loads(CHECKPOINT.with_suffix(".json").read_text())
    sidecar["preprocessing"]["shrink_by_area"] = True
    sidecar["calibration"] = {"slope": 1.3, "intercept": -0.4, "crops": 1000}
    copy.with_suffix(".json").write_text(json.dumps(sidecar))
    return copy


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(sys.executable, checkpoint, tmp_path_factory.mktemp("bundles") / "tiny")


class Recorded:
    """A reader that keeps what it has read."""

    def __init__(self, reader: CropReader) -> None:
        self.model, self.engine, self.turns = reader.model, reader.engine, reader.turns
        self.iterations, self.calibrated = reader.iterations, reader.calibrated
        self.results: list[StagedReading | Refusal] = []
        self._read = reader.read

    def read(self, crops: Iterable[LabelledCrop]) -> Iterator[StagedReading | Refusal]:
        for result in self._read(crops):
            self.results.append(result)
            yield result


class Measured:
    """What a source reads, crop by crop, and how it scores."""

    def __init__(self, source: str, path: Path, *serve_options: str, turns: Turns = "auto") -> None:
        with open_reader(source, serve_options, turns) as reader:
            recorded = Recorded(reader)
            self.score = score_set(recorded, path)
        self.readings = [result for result in recorded.results if isinstance(result, StagedReading)]

    @property
    def texts(self) -> list[list[str]]:
        return [[stage.text for stage in reading.stages] for reading in self.readings]

    @property
    def turned(self) -> list[int]:
        return [reading.turned for reading in self.readings]

    @property
    def confidences(self) -> list[list[float]]:
        return [
            [reading.confidence, *(stage.probability for stage in reading.stages)]
            for reading in self.readings
        ]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words that the bundled model was not trained on, one of them in every kind of image, one in every
    position, and noise."""
    rows = [(sample.name, sample.read_bytes(), sample.stem) for sample in sorted(SAMPLES.glob("*.png"))]
    rows += [(name, image, "harmony") for name, image in odd_images().items()]
    rows += [
        (f"turned{degrees}.png", encoded(np.rot90(telescope(), degrees // 90)), "telescope")
        for degrees in TURNED
    ]
    rows += [(f"noise{seed}.png", encoded(crop(seed)), "noise") for seed in range(3)]
    rows += [("large.png", encoded(noisy(SAMPLES / "cleans.png", scale=8)), "cleans")]
    return labelled(tmp_path_factory.mktemp("sets") / "words", rows)


@pytest.fixture(scope="module")
def turned_by_checkpoint(checkpoint: Path, words: Path) -> Callable[[Turns], Measured]:
    """Each way once: the network is compiled every time."""
    return cache(lambda turns: Measured(str(checkpoint), words, turns=turns))


@pytest.fixture(scope="module")
def by_checkpoint(turned_by_checkpoint: Callable[[Turns], Measured]) -> Measured:
    return turned_by_checkpoint("auto")


def assert_same(one: Measured, other: Measured) -> None:
    assert one.texts == other.texts
    assert one.turned == other.turned
    assert one.score.right.tolist() == other.score.right.tolist()
    np.testing.assert_allclose(one.confidences, other.confidences, atol=1e-3)


def test_the_bundled_model_reads_some_words_and_not_all(by_checkpoint: Measured) -> None:
    assert 0 < by_checkpoint.score.right[0] < by_checkpoint.score.crops
    assert 0 < by_checkpoint.score.right[-1] < by_checkpoint.score.crops


def test_a_bundle_measures_as_its_checkpoint(by_checkpoint: Measured, bundle: Path, words: Path) -> None:
    assert_same(Measured(str(bundle), words), by_checkpoint)


def test_a_running_service_measures_as_its_checkpoint(
    by_checkpoint: Measured, bundle: Path, words: Path
) -> None:
    # What the service does for those who ask for nothing in particular does not matter.
    with service("--bundle", str(bundle), "--iterations", "1") as running:
        assert_same(Measured(str(running.client.base_url), words), by_checkpoint)


@pytest.mark.parametrize("turns", ["none", "all"])
def test_all_turn_alike(
    turns: Turns, turned_by_checkpoint: Callable[[Turns], Measured], bundle: Path, words: Path
) -> None:
    assert_same(Measured(str(bundle), words, turns=turns), turned_by_checkpoint(turns))


@pytest.mark.parametrize(
    ("turns", "found"), [("auto", ["90", "270"]), ("none", []), ("all", ["90", "180", "270"])]
)
def test_a_word_on_its_side_is_turned_to_be_read(
    turns: Turns, found: list[str], turned_by_checkpoint: Callable[[Turns], Measured], words: Path
) -> None:
    """A crop that was turned to the left is turned back to the right."""
    measured = turned_by_checkpoint(turns)
    names = [line.split("\t")[0] for line in (words / "labels.tsv").read_text().splitlines()]
    read = dict(zip(names, measured.readings, strict=True))
    for degrees in TURNED:
        reading = read[f"turned{degrees}.png"]
        assert (reading.final.text == "telescope") is (str(degrees) in found)
        assert reading.turned == (degrees if str(degrees) in found else reading.turned)


@pytest.mark.lite
def test_a_bundle_on_lite_measures_as_its_checkpoint(
    by_checkpoint: Measured, checkpoint: Path, words: Path, lite_python: Path, tmp_path: Path
) -> None:
    lite = export(lite_python, checkpoint, tmp_path / "lite")
    options = ("--engine", "lite", "--worker-python", str(lite_python))
    assert_same(Measured(str(lite), words, *options), by_checkpoint)


# The service as a reader.


def test_a_busy_service_is_asked_again(bundle: Path, words: Path) -> None:
    """Three evaluations at once have more crops under way than there is room for."""
    busy = ("--engine", "simulated", "--simulated-ms", "100", "--max-queue", "1", "--max-batch-items", "1")

    def evaluate(url: str) -> int:
        with ServiceReader(url) as reader:
            return score_set(reader, words, limit=8).crops

    with service("--bundle", str(bundle), *busy) as running, ThreadPoolExecutor(3) as pool:
        assert list(pool.map(evaluate, 3 * [str(running.client.base_url)])) == [8, 8, 8]
    assert any("429" in line for line in running.lines)


def test_an_image_that_the_service_refuses_is_skipped(bundle: Path, words: Path) -> None:
    picky = ("--engine", "simulated", "--max-pixels", "1000")
    with (
        service("--bundle", str(bundle), *picky) as running,
        ServiceReader(str(running.client.base_url)) as reader,
    ):
        score = score_set(reader, words, limit=3)
    assert score.skipped == {"refused by the service: The image has too many pixels": 3}


def test_a_service_that_dies_ends_the_evaluation_in_one_line(bundle: Path, words: Path) -> None:
    with service("--bundle", str(bundle), "--engine", "simulated") as running:
        url = str(running.client.base_url)
        with ServiceReader(url) as reader:
            running.process.kill()
            running.process.wait()
            with pytest.raises(ValueError, match=f"^{url}.*: "):
                score_set(reader, words)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[bad", "https://", "http://localhost:port"])
def test_where_no_service_answers_the_url_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="no abinet service answers there"):
        ServiceReader(url)


def test_a_bundle_that_cannot_be_served_says_why_as_the_service_does(bundle: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"^/no/such/python: not a Python"),
        open_reader(str(bundle), ["--worker-python", "/no/such/python"]),
    ):
        pass


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_evaluation_leaves_no_service_behind(
    bundle: Path, words: Path, number: int, exit_code: int
) -> None:
    command = [sys.executable, "-m", "service", "eval", str(bundle), str(words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as evaluation:
        while not (serving := child_pids(evaluation.pid)):
            assert evaluation.poll() is None
            time.sleep(0.05)
        evaluation.send_signal(number)
        assert evaluation.wait(60) == exit_code
    assert not any(Path(f"/proc/{pid}").exists() for pid in serving)


# The command.


def test_the_command_prints_writes_and_draws(
    words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, sheet, diagram = (tmp_path / name for name in ("table.md", "errors.png", "diagram.png"))
    arguments = ["eval", str(tiny_checkpoint()), "--json", "--markdown", str(table), "--errors", str(sheet)]
    assert main([*arguments, "--plot", str(diagram), str(words), "--limit", "5", "--turns", "none"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["turns"] == "none"
    assert (document["model"], document["sets"][0]["crops"]) == (tiny_checkpoint().stem, 5)
    assert document["confidence"]["calibrated"] is False
    assert sum(one["crops"] for one in document["confidence"]["bins"]) == 5
    assert "| words | 5 |" in table.read_text()
    assert "expected calibration error" in table.read_text()
    assert all(cv2.imread(str(picture)) is not None for picture in (sheet, diagram))
    assert sorted(tmp_path.iterdir()) == [diagram, sheet, table]


def test_a_recipe_names_checkpoint_and_sets_as_mindocrs_do(
    words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SVT", "CUTE80"):
        with LmdbWriter(tmp_path / "evaluation" / name) as writer:
            writer.write(encoded(crop()), "Cat")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"eval:\n  ckpt_load_path: {tiny_checkpoint()}\n  dataset:\n    type: LMDBDataset\n"
        f"    dataset_root: {tmp_path}\n    data_dir: [evaluation/CUTE80, evaluation/SVT]\n"
    )
    assert main(["eval", "--config", str(recipe), "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["sets"]] == ["SVT", "CUTE80"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["tiny.ckpt", "nowhere"], "nowhere: no such folder"),
        (["tiny.ckpt", "words", "--engine", "lite"], "tiny.ckpt: not a bundle, so --engine does not apply"),
        (["tiny.ckpt", "words", "--config", "recipe.yaml"], "leave out SOURCE and SETS"),
        (["--config", "recipe.yaml"], "recipe.yaml: needs eval.ckpt_load_path"),
        (["tiny.ckpt", "words", "--errors", "nowhere/sheet.png"], "nowhere: no such folder"),
        (["nothing.ckpt", "words"], "nothing.ckpt: no such file"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    complaint: str,
    words: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink(words, "words")
    Path("recipe.yaml").write_text("eval: {}\n")
    assert main(["eval", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
