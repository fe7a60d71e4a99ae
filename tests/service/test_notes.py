"""What is said of a reading that is likely not of one word."""

from __future__ import annotations

import pytest

from service.crop import Submission, Wish, Word
from service.http.answers import answer
from service.http.schemas import Reading
from service.reading.notes import NOTE, note_of
from service.types import ModelName


@pytest.mark.parametrize(
    ("text", "probability", "has_note"),
    [
        ("twowordsofwhich", 0.02, True),
        ("counterrevolutionary", 0.6, False),
        ("short", 0.001, False),
        ("", 0.001, False),
    ],
)
def test_a_long_text_that_is_very_unsure_has_a_note(text: str, probability: float, has_note: bool) -> None:
    assert note_of(Word(text, probability, probability, [0.5] * len(text))) == (NOTE if has_note else None)


async def test_the_answer_has_the_note_and_otherwise_no_such_member() -> None:
    (crop,) = Submission(1, Wish(0, detail=False), ModelName(name="m", version="1")).crops
    crop.words = [Word("twowordsofwhich", 0.02, 0.02, [0.5] * 15)]
    assert Reading.model_validate(answer(crop).reading).note == NOTE
    crop.words = [Word("word", 0.9, 0.9, [0.5] * 4)]
    assert "note" not in answer(crop).reading
