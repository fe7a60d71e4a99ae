"""Accuracy with a list of words for each crop, as of IIIT5k-50, IIIT5k-1k and SVT-50."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.charset import fold
from models.data.sets.folders import SetPath, open_set
from models.data.sets.samples import UnusableSample
from service.commands.evaluate.service_reader import ServiceReader

_AT_A_TIME = 64


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    set: str | None = None
    number: int = Field(ge=0)
    words: list[str] = Field(min_length=1)


class LexiconScore(NamedTuple):
    """A set: the number of its crops that have a lexicon, and of those whose word was chosen correctly."""

    name: str
    crops: int
    right: int

    def __str__(self) -> str:
        share = f"{100 * self.right / self.crops:.2f} %" if self.crops else "no crop has one"
        return f"with a lexicon: {self.name} {share} ({self.right} of {self.crops} crops)"


class Lexicons:
    """The words of each crop: JSON lines `{"set": NAME, "number": N, "words": [...]}`, N from 0 in the set.

    `set` may be left out if there is one set.

    Raises:
        ValueError: the file has another form.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._words: dict[tuple[str | None, int], list[str]] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                entry = _Line.model_validate(json.loads(line))
            except (ValueError, ValidationError):
                raise ValueError(
                    f'{path}: line {number} is not like {{"set": "SVT", "number": 0, "words": ["harbour"]}}'
                ) from None
            self._words[entry.set, entry.number] = entry.words

    def score(self, reader: ServiceReader, path: SetPath, limit: int | None = None) -> LexiconScore:
        """The score of a set's first `limit` crops: how many have a lexicon, and how many get the right word
        of it.

        Raises ValueError if the service fails.
        """
        labelled = open_set(path)
        crops = []
        for number in range(len(labelled) if limit is None else min(limit, len(labelled))):
            words = self._words.get((labelled.name, number)) or self._words.get((None, number))
            if words is not None:
                crops.append((number, words))

        def is_right(number: int, words: Sequence[str]) -> bool | None:
            try:
                image, label = labelled.encoded(number)
            except UnusableSample:
                return None
            chosen = reader.choose(image, words)
            return None if chosen is None else fold(chosen) == fold(label)

        outcomes: list[bool | None] = []
        left = iter(crops)
        with ThreadPoolExecutor(8) as pool:
            while batch := list(islice(left, _AT_A_TIME)):
                outcomes += pool.map(is_right, *zip(*batch, strict=True))
        read = [outcome for outcome in outcomes if outcome is not None]
        return LexiconScore(labelled.name, len(read), sum(read))
