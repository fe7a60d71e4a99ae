"""From the probability of a word to the probability that it is right, and how far that can be trusted."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abinet_client import Client
from export.exporter import SAMPLES
from models.calibration import Calibration, fit
from models.checkpoints.checkpoint import CheckpointError, Sidecar, read_sidecar
from models.evaluation.reliability import reliability
from models.evaluation.scoring import score_set
from service.bundle_format.manifest import BundleError
from service.bundled import NAME
from service.cli import main
from service.commands.evaluate.service_reader import ServiceReader
from service.engines.bundle import Bundle
from service.reading.stated import calibration_of
from tests.support.tiny_service import (
    ServiceProcess,
    crop,
    encoded,
    service,
    shared_service,
    tiny_bundle,
    tiny_checkpoint,
)

pytestmark = pytest.mark.slow

FITTED = {"slope": 1.3, "intercept": -0.4, "crops": 1000}

probabilities = st.floats(0, 1)
slopes = st.floats(1e-3, 1e3)
intercepts = st.floats(-1e3, 1e3)


def of_a_bundle(calibration: Any) -> Callable[[np.ndarray], np.ndarray]:
    return calibration_of(cast(Bundle, SimpleNamespace(folder="tiny", calibration=calibration)))


# The formula.


@given(probabilities, probabilities, slopes, intercepts)
def test_a_likelier_word_is_never_less_sure(one: float, other: float, slope: float, intercept: float) -> None:
    less, more = Calibration(slope, intercept)(np.array(sorted((one, other))))
    assert less <= more


@given(probabilities, slopes, intercepts)
def test_a_confidence_is_a_probability(probability: float, slope: float, intercept: float) -> None:
    (confidence,) = Calibration(slope, intercept)(np.array([probability]))
    assert 0 <= confidence <= 1


@given(st.lists(probabilities, min_size=1), slopes, intercepts)
def test_service_and_evaluation_calibrate_the_same_way(
    probability: list[float], slope: float, intercept: float
) -> None:
    theirs = of_a_bundle({"slope": slope, "intercept": intercept})(np.array(probability))
    np.testing.assert_array_equal(Calibration(slope, intercept)(np.array(probability)), theirs)


@given(st.floats(1e-6, 1 - 1e-6))
def test_slope_one_and_intercept_zero_change_nothing(probability: float) -> None:
    (confidence,) = Calibration(1, 0)(np.array([probability]))
    assert confidence == pytest.approx(probability)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0, 0), (-1, 0), (float("nan"), 0), (float("inf"), 0), (1, float("nan"))]
)
def test_numbers_that_would_turn_the_order_around_are_refused(slope: float, intercept: float) -> None:
    with pytest.raises(ValueError, match="abinet calibrate"):
        Calibration(slope, intercept)
    with pytest.raises(BundleError, match="tiny: its calibration is not a slope above 0"):
        of_a_bundle({"slope": slope, "intercept": intercept})


@pytest.mark.parametrize("calibration", [{}, {"slope": 1}, {"slope": "steep", "intercept": 0}, [1, 0]])
def test_a_manifest_with_half_a_calibration_is_refused(calibration: Any) -> None:
    with pytest.raises(BundleError, match="export the bundle again"):
        of_a_bundle(calibration)


# The fit.


def read_by_chance(count: int, slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of words, which are right as often as these two numbers say."""
    rng = np.random.default_rng(0)
    probability = rng.random(count)
    return probability, rng.random(count) < Calibration(slope, intercept)(probability)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.0), (2.5, 0.7)])
def test_the_fit_finds_the_two_numbers_again(slope: float, intercept: float) -> None:
    found = fit(*read_by_chance(100_000, slope, intercept))
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=0.05)
    assert found.crops == 100_000


def test_a_fit_makes_confidences_right_as_often_as_they_say() -> None:
    probability, right = read_by_chance(20_000, 0.5, 1.5)
    assert reliability(probability, right).error > 0.1
    assert reliability(fit(probability, right)(probability), right).error < 0.02


@given(st.lists(st.tuples(probabilities, st.booleans()), min_size=2, max_size=50))
def test_a_fit_of_whatever_crops_keeps_the_order_or_is_refused(crops: list[tuple[float, bool]]) -> None:
    probability, right = (np.array(column) for column in zip(*crops, strict=True))
    with contextlib.suppress(ValueError):
        found = fit(probability, right)
        assert (np.diff(found(np.sort(probability))) >= 0).all()


def test_crops_that_one_threshold_parts_have_a_finite_slope() -> None:
    found = fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert 0 < found.slope < 10


def test_crops_that_are_all_read_rightly_tell_nothing() -> None:
    with pytest.raises(ValueError, match="2 of 2 crops are read correctly"):
        fit(np.array([0.3, 0.9]), np.array([True, True]))


def test_likelier_words_that_are_oftener_wrong_are_not_calibrated() -> None:
    with pytest.raises(ValueError, match="not right more often"):
        fit(np.linspace(0, 1, 100), np.arange(100) < 50)


# How far confidences can be trusted.


def test_the_error_is_how_far_bins_of_as_many_crops_are_from_what_they_say() -> None:
    confidence = np.repeat([0.2, 0.6], 50)
    as_said, all_of_them = np.tile([True, False, False, False, False], 10), np.ones(50, bool)
    result = reliability(confidence, np.concatenate([as_said, all_of_them]))
    assert result.error == pytest.approx((0.0 + 0.4) / 2)
    assert [one.crops for one in result.bins] == [10] * 10


def test_what_faultless_confidences_would_show_by_chance_is_stated() -> None:
    probability, right = read_by_chance(2_000, 1, 0)
    shown = [
        reliability(probability, np.random.default_rng(seed).random(2_000) < probability).error
        for seed in range(200)
    ]
    assert reliability(probability, right).chance == pytest.approx(np.mean(shown), rel=0.1)


def test_fewer_crops_than_bins_have_a_bin_each() -> None:
    result = reliability(np.array([0.9, 0.1]), np.array([True, False]))
    assert [(one.confidence, one.accuracy) for one in result.bins] == [(0.1, 0), (0.9, 1)]
    assert result.error == pytest.approx(0.1)


def test_the_largest_share_of_the_surest_crops_at_a_precision_is_found() -> None:
    right = np.arange(200) >= 100
    right[150] = False
    confidence = np.arange(200) / 200
    at_95, at_98, at_99 = reliability(confidence, right).kept
    assert (at_95.share, at_95.confidence) == (104 / 200, 96 / 200)  # 99 of 104
    assert (at_98.share, at_98.confidence) == (101 / 200, 99 / 200)  # 99 of 101
    assert (at_99.share, at_99.confidence) == (100 / 200, 100 / 200)


def test_crops_of_one_confidence_are_kept_or_left_out_together() -> None:
    kept = reliability(np.array([0.5, 0.5, 0.5, 0.9]), np.array([True, True, False, True])).kept
    assert {(one.share, one.confidence) for one in kept} == {(0.25, 0.9)}


def test_where_the_surest_crop_is_wrong_nothing_may_remain() -> None:
    kept = reliability(np.array([0.1, 0.9]), np.array([False, False])).kept
    assert {(one.share, one.confidence) for one in kept} == {(0.0, None)}


# The command, and the service of what it has calibrated.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundled model, not calibrated."""
    folder = tmp_path_factory.mktemp("checkpoint")
    bundled = SAMPLES.parent / f"{NAME}.ckpt"
    shutil.copy(bundled, folder)
    sidecar = json.loads(bundled.with_suffix(".json").read_text())
    (folder / f"{NAME}.json").write_text(json.dumps({**sidecar, "calibration": None}))
    return folder / bundled.name


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every sample in seven sizes, and as much noise under the name of a word."""
    folder = tmp_path_factory.mktemp("words")
    lines: list[str] = []
    for sample in sorted(SAMPLES.glob("*.png")):
        for size in range(7):
            image = cv2.resize(cv2.imread(str(sample)), None, fx=0.8 + size / 10, fy=1)
            (folder / f"{sample.stem}{size}.png").write_bytes(encoded(image))
            (folder / f"noise-{sample.stem}{size}.png").write_bytes(encoded(crop(len(lines))))
            lines += [f"{name}{size}.png\t{sample.stem}\n" for name in (sample.stem, f"noise-{sample.stem}")]
    (folder / "labels.tsv").write_text("".join(lines))
    return folder


class Calibrated(NamedTuple):
    """One run of the command: the checkpoint's config before and after it, what it printed and drew."""

    before: Sidecar
    after: Sidecar
    told: str
    diagram: Path


@pytest.fixture(scope="module")
def calibrated(checkpoint: Path, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    before, diagram = (
        read_sidecar(checkpoint.with_suffix(".json")),
        tmp_path_factory.mktemp("drawn") / "a.png",
    )
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert main(["calibrate", str(checkpoint), str(words), "--plot", str(diagram)]) == 0
    return Calibrated(before, read_sidecar(checkpoint.with_suffix(".json")), told.getvalue(), diagram)


def test_the_command_fits_on_a_half_judges_on_the_other_and_keeps_two_numbers(
    calibrated: Calibrated, words: Path
) -> None:
    before, after, told, diagram = calibrated
    assert before.calibration is None
    assert after.calibration is not None
    assert (after.network, after.preprocessing, after.sha256) == (
        before.network,
        before.preprocessing,
        before.sha256,
    )
    crops = len((words / "labels.tsv").read_text().splitlines())
    assert f"Fitted on {after.calibration.crops} crops" in told
    assert f"Judged on {crops - after.calibration.crops} others" in told
    assert "expected calibration error" in told
    assert cv2.imread(str(diagram)) is not None


def test_the_same_crops_in_another_order_give_the_same_numbers(
    checkpoint: Path, words: Path, calibrated: Calibrated, tmp_path: Path
) -> None:
    turned = Path(shutil.copytree(words, tmp_path / "turned"))
    lines = (words / "labels.tsv").read_text().splitlines(keepends=True)
    (turned / "labels.tsv").write_text("".join(reversed(lines)))
    assert main(["calibrate", str(checkpoint), str(turned)]) == 0
    assert read_sidecar(checkpoint.with_suffix(".json")).calibration == calibrated.after.calibration


def test_too_few_crops_are_refused_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checkpoint.with_suffix(".json").read_text()
    (tmp_path / "labels.tsv").write_text("a.png\tcat\n")
    (tmp_path / "a.png").write_bytes(encoded(crop()))
    assert main(["calibrate", str(checkpoint), str(tmp_path)]) == 2
    assert "only 1 crops could be read" in capsys.readouterr().err
    assert checkpoint.with_suffix(".json").read_text() == before


def test_a_bundle_is_not_calibrated_itself(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(tiny_bundle()), str(words)]) == 2
    assert "calibrate the checkpoint and export it as a bundle again" in capsys.readouterr().err


def test_a_config_with_an_impossible_calibration_is_named(checkpoint: Path, tmp_path: Path) -> None:
    sidecar = json.loads(checkpoint.with_suffix(".json").read_text())
    path = tmp_path / "steep.json"
    path.write_text(json.dumps({**sidecar, "calibration": {"slope": 0, "intercept": 0}}))
    with pytest.raises(CheckpointError, match=r"steep\.json: not a usable config: a calibration has"):
        read_sidecar(path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Of the tiny network, whose manifest is as one from before there were calibrations."""
    copy = Path(shutil.copytree(tiny_bundle(), tmp_path / "bundle"))
    with_calibration(copy, None)
    return copy


def with_calibration(bundle: Path, calibration: dict[str, float] | None) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("calibration", None)
    path.write_text(json.dumps({**manifest, **({"calibration": calibration} if calibration else {})}))


def test_a_bundle_from_before_calibrations_is_served_and_says_that_it_has_none(bundle: Path) -> None:
    with service("--bundle", str(bundle)) as running:
        read = running.read().json()
        model = running.client.get("/v1/model").json()
    assert (read["model"]["calibrated"], model["calibrated"]) == (False, False)
    assert read["confidence"] == read["iterations"][-1]["fused"]["confidence"]


# So flat that even what a random network believes becomes a middling confidence.
FLAT = {"slope": 0.05, "intercept": 0.5, "crops": 9}


@pytest.fixture(scope="module")
def flattened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    bundle = Path(shutil.copytree(tiny_bundle(), tmp_path_factory.mktemp("calibrated") / "bundle"))
    with_calibration(bundle, FLAT)
    with service("--bundle", str(bundle)) as running:
        yield running


def test_every_way_to_ask_gets_the_same_calibrated_confidence(
    flattened: ServiceProcess, tmp_path: Path
) -> None:
    client, image, address = flattened.client, encoded(crop()), str(flattened.client.base_url)
    one = flattened.read().json()
    text, confidence = one["text"], one["confidence"]
    assert 0.2 < confidence < 0.8
    many = client.post("/v1/read/batch", files=[("images", image)]).json()
    (item,) = many["items"]
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [b64encode(image).decode()]}
    inferred = client.post("/v2/models/abinet/infer", json={"inputs": [tensor]}).json()
    of_tensors = {output["name"]: output["data"][0] for output in inferred["outputs"]}
    (tmp_path / "a.png").write_bytes(image)
    (tmp_path / "labels.tsv").write_text("a.png\tcat\n")
    assert main(["read", str(tmp_path / "a.png"), "--url", address, "-o", str(tmp_path / "rows.csv")]) == 0
    (row,) = csv.DictReader((tmp_path / "rows.csv").read_text().splitlines())
    with ServiceReader(address) as reader:
        (outcome,) = score_set(reader, tmp_path).outcomes
    with Client(address) as sdk:
        reading = sdk.read(image)
    assert [
        item["result"]["confidence"],
        of_tensors["confidence"],
        float(row["confidence"]),
        outcome.confidence,
        reading.confidence,
    ] == pytest.approx([confidence] * 5, abs=1e-5)
    assert [item["result"]["text"], of_tensors["text"], row["text"], reading.text] == [text] * 4
    models = [one["model"], many["model"], client.get("/v1/model").json()]
    assert [model["calibrated"] for model in models] == [True] * 3
    assert (reader.calibrated, reading.model.calibrated) == (True, True)


@pytest.mark.parametrize("options", [{}, {"iterations": 0}, {"iterations": 1}, {"early_stop": True}])
def test_the_confidence_follows_from_the_last_stages_probability(
    flattened: ServiceProcess, options: dict[str, Any]
) -> None:
    read = flattened.read(**options).json()
    last = read["iterations"][-1]
    probability = last.get("fused", last)["confidence"]
    expected = Calibration.from_dict(FLAT)(np.array([probability]))
    assert read["confidence"] == pytest.approx(expected[0], abs=0.05 * 0.5)


def test_stages_and_characters_stay_probabilities(flattened: ServiceProcess) -> None:
    read = flattened.read().json()
    uncalibrated = shared_service().read().json()
    assert read["iterations"] == uncalibrated["iterations"]
    for stage in [read["iterations"][0], *(stage["fused"] for stage in read["iterations"][1:])]:
        characters = [one["confidence"] for one in stage["characters"]]
        assert stage["confidence"] <= np.prod(characters) + 1e-6  # the stop's is not among them


def test_a_bundle_with_a_calibration_that_is_none_is_refused_in_one_line(bundle: Path) -> None:
    with_calibration(bundle, {"slope": -1.0, "intercept": 0.0})
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--bundle", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "its calibration is not a slope above 0" in done.stderr.splitlines()[-1]


def test_an_export_hands_the_calibration_on_and_inspect_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(tiny_checkpoint(), tmp_path / "tiny.ckpt")
    sidecar = json.loads(tiny_checkpoint().with_suffix(".json").read_text())
    (tmp_path / "tiny.json").write_text(json.dumps({**sidecar, "calibration": FITTED}))
    assert main(["export", str(tmp_path / "tiny.ckpt"), "--output", str(tmp_path / "bundle")]) == 0
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["calibration"] == FITTED
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "bundle")]) == 0
    assert "calibrated on 1000 crops (slope 1.3, intercept -0.4)" in capsys.readouterr().out
    assert main(["inspect", str(tiny_bundle())]) == 0
    assert "uncalibrated" in capsys.readouterr().out
