"""The words of the rendered training set: a list drawn by tempered frequency, apart for each split."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.charset import MAX_LENGTH, fold
from models.data.rendering.texts import STREET, Texts, draw

Split = Literal["train", "test"]

# Words of everyday signs belong to both splits: a network that never saw "street" would be a poor reader.
SHARED_WORDS = 5000
HELD_OUT_OF = 50
# p ~ frequency ** TEMPER: rare words appear, and "the" does not fill the set.
TEMPER = 0.68
# Characters from which on a word is long: readers fail on such words, and frequency makes them rare.
LONG = 11


class WordListError(ValueError):
    """A word list that cannot be used; the message names it and the remedy."""


def is_held_out(label: str) -> bool:
    """Whether a label belongs to the test split, by a hash that is the same on every machine."""
    return len(label) > 3 and zlib.crc32(label.encode()) % HELD_OUT_OF == 0


class WordSampler:
    """Draws the texts of one split; labels are 1..25 characters of [0-9a-z]."""

    def __init__(self, words: Iterable[tuple[str, float]], split: Split = "train") -> None:
        """words: (word, frequency > 0), most frequent first; words without a label of 1..25 are skipped."""
        self.split = split
        usable = [(word, frequency) for word, frequency in words if 1 <= len(fold(word)) <= MAX_LENGTH]
        self._shared = {fold(word) for word, _ in usable[:SHARED_WORDS]}
        chosen = [(word, frequency) for word, frequency in usable if self._belongs(fold(word))]
        if not chosen:
            raise WordListError(
                f"word list: no words for the {split} split among {len(usable)}; "
                f"give a list of more than {SHARED_WORDS} words"
            )
        self.words = [word for word, _ in chosen]
        self.frequencies = np.array([frequency for _, frequency in chosen])
        self._cumulative = _cumulative(self.frequencies)
        long = [(word, frequency) for word, frequency in chosen if len(fold(word)) >= LONG] or chosen
        self._long_words = [word for word, _ in long]
        self._cumulative_long = _cumulative(frequency for _, frequency in long)

    @classmethod
    def from_wordfreq(cls, split: Split = "train", count: int = 300_000) -> WordSampler:
        """The `count` most frequent English words of the wordfreq package."""
        from wordfreq import top_n_list, word_frequency

        words = top_n_list("en", count, ascii_only=True)
        return cls(((word, word_frequency(word, "en")) for word in words), split)

    @classmethod
    def from_file(cls, path: Path, split: Split = "train") -> WordSampler:
        """The words of such a file as :meth:`read` reads. Raises WordListError."""
        return cls(cls.read(path), split)

    @staticmethod
    def read(path: Path) -> list[tuple[str, float]]:
        """A text file, plain or .gz, of one word a line, most frequent first, optionally tab and frequency.

        Raises: WordListError if the file is missing or a frequency is not a positive number.
        """
        try:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise WordListError(f"{path}: not a word list ({error}); give UTF-8 text, plain or .gz") from None
        words = [_parse_line(path, line) for line in text.splitlines() if line.strip()]
        if not words:
            raise WordListError(f"{path}: no words; give one a line")
        return words

    def sample(self, rng: np.random.Generator, texts: Texts = STREET) -> str:
        """One text as it is drawn: cased, sometimes with punctuation."""
        while True:
            text = draw(texts, self, rng)
            label = fold(text)
            if 1 <= len(label) <= MAX_LENGTH and self._belongs(label):
                return text

    def word(self, rng: np.random.Generator) -> str:
        """A word of the list by its tempered frequency, as the list has it."""
        return self.words[_drawn(self._cumulative, rng)]

    def long_word(self, rng: np.random.Generator) -> str:
        """The same among words of `LONG` characters and more; any word if the list has no such one."""
        return self._long_words[_drawn(self._cumulative_long, rng)]

    def _belongs(self, label: str) -> bool:
        return (is_held_out(label) and label not in self._shared) == (self.split == "test")


def _cumulative(frequencies: Iterable[float]) -> npt.NDArray[np.float64]:
    weights = np.cumsum(np.fromiter(frequencies, np.float64) ** TEMPER)
    return weights / weights[-1]


def _drawn(cumulative: npt.NDArray[np.float64], rng: np.random.Generator) -> int:
    return int(np.searchsorted(cumulative, rng.random(), side="right"))


def _parse_line(path: Path, line: str) -> tuple[str, float]:
    word, _, frequency = line.partition("\t")
    try:
        value = float(frequency) if frequency else 1.0
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise WordListError(f"{path}: {line!r} has no positive frequency; write: word, tab, frequency")
    return word.strip(), value
