"""What the rendered training set says: words by tempered frequency, numbers, codes and made-up words."""

from __future__ import annotations

import gzip
import string
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np

MAX_LENGTH = 25
ALPHANUMERIC = string.digits + string.ascii_lowercase
PUNCTUATION = ".,:;!?'\"-&$%#@/()+*"
Split = Literal["train", "test"]

# Words of everyday signs belong to both splits: a reader that never saw "street" would be a poor one.
SHARED_WORDS = 5000
HELD_OUT_OF = 50
# p ~ frequency ** TEMPER: rare words appear, and "the" does not fill the set.
TEMPER = 0.68


class WordListError(ValueError):
    """A word list that cannot be used; the message names it and the remedy."""


def label_of(text: str) -> str:
    """The label of drawn text: lower case, everything but [0-9a-z] dropped."""
    return "".join(character for character in text.lower() if character in ALPHANUMERIC)


def is_held_out(label: str) -> bool:
    """Whether a label belongs to the test split, by a hash that is the same on every machine."""
    return len(label) > 3 and zlib.crc32(label.encode()) % HELD_OUT_OF == 0


class WordSampler:
    """Draws the texts of one split; labels are 1..25 characters of [0-9a-z]."""

    def __init__(self, words: Iterable[tuple[str, float]], split: Split = "train") -> None:
        """words: (word, frequency > 0), most frequent first; words without a label of 1..25 are skipped."""
        self.split = split
        usable = [(word, frequency) for word, frequency in words if 1 <= len(label_of(word)) <= MAX_LENGTH]
        self._shared = {label_of(word) for word, _ in usable[:SHARED_WORDS]}
        chosen = [(word, frequency) for word, frequency in usable if self._belongs(label_of(word))]
        if not chosen:
            raise WordListError(
                f"word list: no words for the {split} split among {len(usable)}; "
                f"give a list of more than {SHARED_WORDS} words"
            )
        self.words = [word for word, _ in chosen]
        self.frequencies = np.array([frequency for _, frequency in chosen])
        weights = np.cumsum(self.frequencies**TEMPER)
        self._cumulative = weights / weights[-1]

    @classmethod
    def from_wordfreq(cls, split: Split = "train", count: int = 300_000) -> WordSampler:
        """The `count` most frequent English words of the wordfreq package."""
        from wordfreq import top_n_list, word_frequency

        words = top_n_list("en", count, ascii_only=True)
        return cls(((word, word_frequency(word, "en")) for word in words), split)

    @classmethod
    def from_file(cls, path: Path, split: Split = "train") -> WordSampler:
        """A text file, plain or .gz, of one word a line, most frequent first, optionally tab and frequency.

        Raises: WordListError where the file is missing or a frequency is not a positive number.
        """
        try:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise WordListError(f"{path}: not a word list ({error}); give UTF-8 text, plain or .gz") from None
        return cls((_parse_line(path, line) for line in text.splitlines() if line.strip()), split)

    def sample(self, rng: np.random.Generator) -> str:
        """One text as it is drawn: cased, sometimes with punctuation."""
        make = _pick(rng, self._MAKERS)
        while True:
            text = _dress(make(self, rng), rng)
            label = label_of(text)
            if 1 <= len(label) <= MAX_LENGTH and self._belongs(label):
                return text

    def _belongs(self, label: str) -> bool:
        return (is_held_out(label) and label not in self._shared) == (self.split == "test")

    def _vocabulary(self, rng: np.random.Generator) -> str:
        return self.words[int(np.searchsorted(self._cumulative, rng.random(), side="right"))]

    def _spliced(self, rng: np.random.Generator) -> str:
        """Brand-like: the head of one word and the tail of another."""
        head, tail = self._vocabulary(rng), self._vocabulary(rng)
        return head[: rng.integers(2, 6)] + tail[-rng.integers(1, 6) :]

    def _letters(self, rng: np.random.Generator) -> str:
        return "".join(rng.choice(_LETTERS, size=min(1 + rng.geometric(0.3), 12)))

    def _number(self, rng: np.random.Generator) -> str:
        return _pick(rng, _NUMBERS)(rng)

    def _code(self, rng: np.random.Generator) -> str:
        """Room, plate and product numbers: groups of letters and groups of digits."""
        groups = [
            "".join(rng.choice(_LETTERS if letters else _DIGITS, size=rng.integers(1, 4)))
            for letters in (rng.random(rng.integers(2, 4)) < 0.5)
        ]
        return ("-" if rng.random() < 0.2 else "").join(groups)

    _MAKERS = (
        (_vocabulary, 0.73),
        (_spliced, 0.07),
        (_letters, 0.06),
        (_number, 0.10),
        (_code, 0.04),
    )


_LETTERS = list(string.ascii_lowercase)
_DIGITS = list(string.digits)


def _digits(rng: np.random.Generator, fewest: int, most: int) -> str:
    return "".join(rng.choice(_DIGITS, size=rng.integers(fewest, most + 1)))


def _price(rng: np.random.Generator) -> str:
    separator = ".,"[rng.integers(2)]
    cents = ("00", "99", "50", "95", _digits(rng, 2, 2))[rng.integers(5)]
    return ("$" if rng.random() < 0.5 else "") + f"{rng.integers(100)}{separator}{cents}"


_NUMBERS = (
    (lambda rng: _digits(rng, 1, 3), 0.4),
    (lambda rng: _digits(rng, 3, 8), 0.2),
    (lambda rng: str(rng.integers(1850, 2031)), 0.14),
    (_price, 0.12),
    (lambda rng: f"{_digits(rng, 3, 3)}-{_digits(rng, 4, 4)}", 0.04),
    (lambda rng: f"{rng.integers(1, 13)}:{rng.integers(60):02}", 0.03),
    (lambda rng: str(rng.integers(1, 101)) + ("%", "th", "st", "km", "m", "am", "pm")[rng.integers(7)], 0.07),
)

_ENDINGS = (".", ",", "!", "...", "?", ":", "'s", ")", '"', "!!", ";", "*", "-", "'")
_OPENINGS = ('"', "(", "'", "#", "&", "@", "-", "*", "$")


def _dress(text: str, rng: np.random.Generator) -> str:
    """Case and punctuation as signs and posters have them."""
    dice = rng.random()
    if dice < 0.47:
        text = text.upper()
    elif dice < 0.74:
        text = text.capitalize()
    elif dice > 0.97:
        text = "".join(
            c.upper() if upper else c for c, upper in zip(text, rng.random(len(text)) < 0.5, strict=True)
        )
    if rng.random() < 0.09:
        ending = _ENDINGS[rng.integers(len(_ENDINGS))]
        text += ending.upper() if text.isupper() else ending
    if rng.random() < 0.03:
        text = _OPENINGS[rng.integers(len(_OPENINGS))] + text
    return text


def _pick(
    rng: np.random.Generator, choices: tuple[tuple[Callable[..., str], float], ...]
) -> Callable[..., str]:
    dice = rng.random()
    for choice, probability in choices:
        dice -= probability
        if dice < 0:
            return choice
    return choices[0][0]


def _parse_line(path: Path, line: str) -> tuple[str, float]:
    word, _, frequency = line.partition("\t")
    try:
        value = float(frequency) if frequency else 1.0
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise WordListError(f"{path}: {line!r} has no positive frequency; write: word, tab, frequency")
    return word.strip(), value
