"""Texts, classes and logits: folding, encoding, decoding, certainty, and that the service decodes alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.charset import CHARSET_36, MAX_LENGTH, NULL, certainty, decode, encode, fold, text_lengths, texts
from service.reading import decode as service

STEPS = MAX_LENGTH + 1
CLASSES = len(CHARSET_36) + 1

labels = st.lists(st.text(CHARSET_36, max_size=MAX_LENGTH), min_size=1, max_size=5)


@st.composite
def logits(draw: st.DrawFn) -> np.ndarray:
    """(N, T, classes) float32, with texts of all lengths, from none to all T characters."""
    count = draw(st.integers(1, 6))
    values = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=(count, STEPS, CLASSES))
    values[..., NULL] += draw(arrays(float, (count, 1), elements=st.floats(-6, 6)))
    return (values * draw(st.floats(0.1, 20))).astype(np.float32)


def test_a_label_keeps_only_letters_and_digits_in_lower_case() -> None:
    assert fold("Macy's No. 5-A!") == "macysno5a"


@given(st.text())
def test_what_is_folded_can_be_encoded_and_folds_to_itself(text: str) -> None:
    label = fold(text)
    assert fold(label) == label
    encode([label], CHARSET_36, len(label) + 1)


def test_a_text_is_encoded_with_a_null_after_its_last_character() -> None:
    classes, lengths = encode(["az10"], CHARSET_36, STEPS)
    assert classes[0, :5].tolist() == [1, 26, 27, 36, 0]
    assert lengths.tolist() == [5]


@given(labels)
def test_what_is_encoded_reads_as_it_was_written(written: list[str]) -> None:
    classes, lengths = encode(written, CHARSET_36, STEPS)
    assert texts(classes, CHARSET_36) == written
    assert (text_lengths(classes) + 1).tolist() == lengths.tolist()


def test_a_charset_may_have_any_characters() -> None:
    classes, _ = encode(["字 é"], "é字 ", 4)
    assert classes.tolist() == [[2, 3, 1, 0]]


@pytest.mark.parametrize("label", ["a" * STEPS, "A", "é", "a-b"])
def test_a_label_that_has_no_classes_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=r"a label of 26 characters, longer than 25|outside of the charset"):
        encode(["a", label], CHARSET_36, STEPS)


def test_a_text_without_a_null_has_all_steps() -> None:
    assert texts(np.ones((1, STEPS), int), CHARSET_36) == ["a" * STEPS]


def test_a_text_is_as_certain_as_its_characters_and_its_stop_on_average() -> None:
    likely = [0.9, 0.4, 0.7]  # "aa" and its stop
    rows = np.array([[(1 - p) / (CLASSES - 1)] * CLASSES for p in likely])
    rows[range(3), [1, 1, NULL]] = likely
    expected = math.exp(sum(map(math.log, likely)) / 3)
    assert certainty(np.log(rows)[None])[0] == pytest.approx(expected)


@given(logits())
def test_the_service_decodes_alike(values: np.ndarray) -> None:
    ours, theirs = decode(values, CHARSET_36), service.Decoder(CHARSET_36)(values)
    assert [word.text for word in ours] == [word.text for word in theirs]
    assert [word.probability for word in ours] == pytest.approx(
        [word.probability for word in theirs], abs=1e-5
    )


@given(logits())
def test_the_service_is_as_certain(values: np.ndarray) -> None:
    np.testing.assert_allclose(certainty(values), service.certainty(values), rtol=1e-5)
