"""The engine that computes nothing, in its worker process like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engines.bundle import Bundle
from service.engines.engine import EngineOptions
from service.engines.process import EngineProcess
from service.engines.simulated import TEXT
from service.reading.decode import Decoder
from tests.support.empty_bundle import CHARSET, empty_bundle

pytestmark = pytest.mark.slow

IMAGES = np.zeros((4, 3, 32, 128), np.float32)


@contextmanager
def worker(bundle: Bundle, **options: Any) -> Iterator[EngineProcess]:
    running = EngineProcess(bundle, EngineOptions(engine="simulated")._replace(**options))
    try:
        running.load()
        yield running
    finally:
        running.kill()


def test_it_reads_the_same_word_in_every_crop_and_is_sure_of_it(tmp_path: Path) -> None:
    with worker(empty_bundle(tmp_path)) as engine:
        logits, features = engine.run("vision", [IMAGES]).tensors
        language, fused = engine.run("refine", [logits, features]).tensors
    words = Decoder(CHARSET)(logits)
    assert [word.text for word in words] == [TEXT] * 4
    assert min(word.confidence for word in words) > 0.999
    np.testing.assert_array_equal(logits, fused)
    np.testing.assert_array_equal(logits, language)
    assert features.shape == (4, 26, 16)


def test_the_fused_graph_gives_vision_and_every_iteration(tmp_path: Path) -> None:
    with worker(empty_bundle(tmp_path), graph="fused") as engine:
        outputs = engine.run("abinet", [IMAGES[:1]]).tensors
    assert [output.shape for output in outputs] == [(1, 26, 37)] * 7


@pytest.mark.parametrize(
    ("charset", "length", "text"), [("detmlau", 25, "mulated"), (CHARSET, 3, "sim"), ("01", 25, "")]
)
def test_a_charset_or_length_without_the_word_shortens_it(
    tmp_path: Path, charset: str, length: int, text: str
) -> None:
    with worker(empty_bundle(tmp_path, charset, length)) as engine:
        logits, _ = engine.run("vision", [IMAGES[:1]]).tensors
    assert Decoder(charset)(logits)[0].text == text


def test_a_call_takes_the_stated_time(tmp_path: Path) -> None:
    with worker(empty_bundle(tmp_path), simulated_ms=20.0, simulated_ms_per_crop=10.0) as engine:
        for batch, seconds in ((1, 0.03), (4, 0.06)):
            answer = engine.run("vision", [IMAGES[:batch]])
            assert seconds <= answer.seconds < seconds + 0.02


def test_warming_up_measures_the_stated_time(tmp_path: Path) -> None:
    running = EngineProcess(empty_bundle(tmp_path), EngineOptions(engine="simulated", simulated_ms=20.0))
    try:
        loaded = running.load()
    finally:
        running.kill()
    assert loaded.release == "simulated engine"
    assert {(cost.kind, cost.batch) for cost in loaded.costs} == {
        (kind, batch) for kind in ("vision", "refine") for batch in (1, 4)
    }
    assert all(0.02 <= cost.seconds < 0.04 for cost in loaded.costs)


def test_without_a_stated_time_a_call_takes_next_to_none(tmp_path: Path) -> None:
    with worker(empty_bundle(tmp_path)) as engine:
        assert min(engine.run("vision", [IMAGES]).seconds for _ in range(20)) < 0.005
