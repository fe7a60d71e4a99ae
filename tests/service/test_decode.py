"""From logits to words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.reading.decode import Decoder, settled, sure

CHARSET = "abcdefghijklmnopqrstuvwxyz1234567890"
decode = Decoder(CHARSET)


def logits(*classes: int, probability: float = 0.9, steps: int = 26) -> np.ndarray:
    """Logits (steps, 37) whose steps give the classes this probability, and null after them."""
    others = (1 - probability) / len(CHARSET)
    table = np.full((steps, 1 + len(CHARSET)), math.log(others), np.float32)
    table[np.arange(steps), [*classes, *[0] * (steps - len(classes))]] = math.log(probability)
    return table


def test_a_word_ends_at_the_first_null() -> None:
    (word,) = decode(logits(3, 1, 20, 0, 5)[None])
    assert word.text == "cat"


def test_one_comes_before_zero() -> None:
    (word,) = decode(logits(27, 36)[None])
    assert word.text == "10"


def test_a_word_without_a_null_has_all_steps() -> None:
    (word,) = decode(logits(*[1] * 26)[None])
    assert word.text == "a" * 26


def test_a_null_at_once_is_the_empty_word() -> None:
    (word,) = decode(logits()[None])
    assert (word.text, word.characters) == ("", [])
    assert word.probability == pytest.approx(0.9)


def test_each_character_has_its_probability() -> None:
    (word,) = decode(logits(3, 1, 20, probability=0.7)[None])
    assert word.characters == pytest.approx([0.7] * 3)


def test_a_words_probability_is_the_product_with_the_stops() -> None:
    table = logits(3, 1)
    table[2] = logits(probability=0.4)[2]  # the stop token
    (word,) = decode(table[None])
    assert word.probability == pytest.approx(0.9 * 0.9 * 0.4)


def test_a_words_confidence_is_its_calibrated_probability() -> None:
    (word,) = Decoder(CHARSET, lambda probability: probability / 2)(logits(3, 1)[None])
    assert (word.probability, word.confidence) == pytest.approx((0.9**3, 0.9**3 / 2))


def test_without_a_calibration_a_words_confidence_is_its_probability() -> None:
    (word,) = decode(logits(3, 1)[None])
    assert word.confidence == word.probability


def test_a_long_word_among_short_ones_is_read_to_its_end() -> None:
    words = decode(np.stack([logits(1), logits(*range(1, 24)), logits(2)]))
    assert [word.text for word in words] == ["a", "abcdefghijklmnopqrstuvw", "b"]


def test_large_logits_do_not_overflow() -> None:
    (word,) = decode(1e4 * logits(3, 1)[None])
    assert word.probability == pytest.approx(1)


def test_many_words_decode_as_each_alone() -> None:
    batch = np.random.default_rng(0).normal(size=(5, 26, 37)).astype(np.float32)
    assert decode(batch) == [decode(one[None])[0] for one in batch]


def test_a_crop_is_sure_of_itself_by_its_least_sure_character() -> None:
    surely, hardly = logits(3, 1), logits(3, 1)
    hardly[0] = logits(3, 1, probability=0.6)[0]
    assert sure(np.stack([surely, hardly]), threshold=0.85).tolist() == [True, False]


def is_settled(before: np.ndarray, after: np.ndarray, threshold: float) -> bool:
    (answer,) = settled(before[None], after[None], threshold)
    return bool(answer)


def test_the_same_sure_word_is_settled() -> None:
    assert is_settled(logits(3, 1, probability=0.5), logits(3, 1), threshold=0.85)


def test_another_word_is_not_settled() -> None:
    assert not is_settled(logits(3, 2), logits(3, 1), threshold=0.85)


def test_a_longer_word_is_not_settled() -> None:
    assert not is_settled(logits(3), logits(3, 1), threshold=0.85)


def test_a_word_with_an_unsure_character_is_not_settled() -> None:
    after = logits(3, 1)
    after[1] = logits(3, 1, probability=0.6)[1]
    assert not is_settled(logits(3, 1), after, threshold=0.85)


def test_an_unsure_stop_is_not_settled() -> None:
    after = logits(3, 1)
    after[2] = logits(3, 1, probability=0.6)[2]
    assert not is_settled(logits(3, 1), after, threshold=0.85)


def test_what_comes_after_the_stop_does_not_matter() -> None:
    assert is_settled(logits(3, 0, 7, probability=0.9), logits(3, 0, 8), threshold=0.85)


def test_crops_settle_each_for_itself() -> None:
    before, after = np.stack([logits(3), logits(3)]), np.stack([logits(3), logits(4)])
    assert settled(before, after, threshold=0.85).tolist() == [True, False]


def test_a_charset_may_have_any_characters() -> None:
    (word,) = Decoder("é字 ")(logits(2, 3, 1)[None, :, :4])
    assert word.text == "字 é"
