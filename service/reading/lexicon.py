"""Which word of a list a crop shows, and which other readings are likely, by the network's own probabilities.

The network gives probabilities to the classes of each step, independently of the other steps. So the
probability of a text is the product of those of its characters and of its stop, and the probabilities of all
texts add up to 1.
"""

from __future__ import annotations

import heapq
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.errors import ProblemType, ServiceError
from service.reading.decode import NULL

_AT_ONCE = 8
"""Crops that are scored together: with more, the scores of 10,000 words leave the processor's cache."""
_DIGITS = 6


class Choice(NamedTuple):
    """The likeliest word of a lexicon, as the lexicon spells it, its probability, and the probability of none
    of the words.
    """

    word: str
    probability: float
    none: float


class LikelyReading(NamedTuple):
    """A reading, and the probability that the network gives it."""

    text: str
    probability: float


class Lexicon:
    """Words to choose from. Only characters of the charset count; words that are then equal are one.

    Raises ServiceError if no word has a character of the charset and at most `steps` of them.
    """

    def __init__(self, words: Iterable[str], charset: str, steps: int) -> None:
        # The first of those that read the same.
        by_text = {text: word for word, text in reversed(list(_folded(words, charset)))}
        texts = sorted((text for text in by_text if 0 < len(text) <= steps), key=len, reverse=True)
        if not texts:
            raise ServiceError(
                ProblemType.INVALID_REQUEST,
                f"lexicon: none of its words has 1 to {steps} of the characters {charset}",
            )
        self._words = [by_text[text] for text in texts]
        lengths = np.array([len(text) for text in texts])
        longest = int(lengths[0])
        code_points = np.array(texts, f"<U{longest + 1}").view(np.uint32).reshape(len(texts), longest + 1)
        class_of = np.zeros(max(map(ord, charset)) + 1, np.intp)
        class_of[list(map(ord, charset))] = np.arange(1, len(charset) + 1)
        self._classes = np.ascontiguousarray(class_of[code_points].T)
        # The longest words come first; this is how many words have a character or the stop at each step.
        self._counts = [int((lengths >= step).sum()) for step in range(longest + 1)]

    def __len__(self) -> int:
        return len(self._words)

    def choose(self, logits: np.ndarray) -> list[Choice]:
        """Logits (N, T, C) of N crops -> the word for each."""
        parts = (logits[start : start + _AT_ONCE] for start in range(0, len(logits), _AT_ONCE))
        return [choice for part in parts for choice in self._choose(part)]

    def _choose(self, logits: np.ndarray) -> list[Choice]:
        by_step = np.ascontiguousarray(log_probabilities(logits).transpose(1, 2, 0).astype(np.float32))
        scores = np.zeros((len(self._words), len(logits)), np.float32)
        room = np.empty_like(scores)
        for classes, count, step in zip(self._classes, self._counts, by_step, strict=False):
            scores[:count] += step.take(classes[:count], axis=0, out=room[:count], mode="clip")
        best = scores.argmax(axis=0)
        probabilities = np.exp(scores[best, np.arange(len(logits))].astype(np.float64))
        none = np.clip(1 - np.exp(scores).sum(axis=0, dtype=np.float64), 0, 1)
        return [
            Choice(self._words[index], round(probability, _DIGITS), round(rest, _DIGITS))
            for index, probability, rest in zip(
                best.tolist(), probabilities.tolist(), none.tolist(), strict=True
            )
        ]


def alternatives(logits: np.ndarray, charset: str, count: int) -> list[LikelyReading]:
    """The likeliest readings of a crop by logits (T, C), the likeliest first.

    Exact: a best-first search over beginnings of texts, in the order of the best text that each can still
    become.
    """
    logs = log_probabilities(logits)
    ranked = (np.argsort(-logs[:, 1:], axis=1)[:, :count] + 1).tolist()
    steps = logs.tolist()
    best_from = [0.0] * (len(steps) + 1)
    for step in range(len(steps) - 1, -1, -1):
        going_on = steps[step][ranked[step][0]] + best_from[step + 1]
        best_from[step] = max(steps[step][NULL], going_on)
    order = itertools.count()
    # Minus the best log probability that it can still reach, its turn among equals, text, log probability,
    # whether it is whole.
    heap = [(-best_from[0], next(order), "", 0.0, False)]
    found: list[LikelyReading] = []
    while heap and len(found) < count:
        _, _, text, log, is_whole = heapq.heappop(heap)
        if is_whole:
            found.append(LikelyReading(text, round(float(np.exp(log)), _DIGITS)))
            continue
        step = len(text)
        if step == len(steps):
            heapq.heappush(heap, (-log, next(order), text, log, True))
            continue
        stopped = log + steps[step][NULL]
        heapq.heappush(heap, (-stopped, next(order), text, stopped, True))
        for index in ranked[step]:
            longer = log + steps[step][index]
            bound = -(longer + best_from[step + 1])
            heapq.heappush(heap, (bound, next(order), text + charset[index - 1], longer, False))
    return found


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits (..., C) -> the logarithms of the probabilities of their classes, float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


def words_of(path: Path) -> list[str]:
    """The words of a file, one a line. Raises OSError, and ValueError if it is not UTF-8."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None


def read_lexicons(folder: Path | None, charset: str, steps: int) -> dict[str, Lexicon]:
    """The lexicons NAME.txt of a folder, by their names.

    Raises ValueError if a file cannot be read or has no usable word.
    """
    if folder is None:
        return {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".txt")
        return {path.stem: Lexicon(words_of(path), charset, steps) for path in paths}
    except ServiceError as error:
        raise ValueError(f"{folder}: {error.detail}") from None
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from None


def _folded(words: Iterable[str], charset: str) -> Iterator[tuple[str, str]]:
    """Each word, and the word as it is compared: folded as labels are, without accents (NFKD), in lower case
    if the charset is.

    All words are folded as one text, a line each, so that other threads wait less for the interpreter.
    """
    words = list(words)
    if not words:
        return iter(())
    text = "\n".join([word.replace("\n", " ") for word in words])
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    if charset.lower() == charset:
        text = text.lower()
    return zip(words, re.sub(f"[^{re.escape(charset)}\n]+", "", text).split("\n"), strict=True)
