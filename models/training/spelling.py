"""Words, clean and misread, on which the language model learns to spell (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from models.abinet.config import NetworkConfig
from models.charset import encode, fold
from models.data.rendering.words import WordSampler
from models.training.batches import Batch
from models.training.misreadings import Misreadings

#: This many words are drawn together and sorted by length, then shuffled in blocks, which halves the work of
#: a step that cuts its batch to the longest word.
GROUP = 4096
BLOCK = 256


@dataclass(frozen=True)
class Vocabulary:
    """Words, and how often each is written, in any unit."""

    words: Sequence[str]
    frequencies: np.ndarray

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """A file of ``abinet data text``. Raises WordListError, FileNotFoundError."""
        if not path.exists():
            raise FileNotFoundError(2, "No such file; abinet data text makes it of running text", str(path))
        words = WordSampler.read(path)
        return cls([word for word, _ in words], np.array([count for _, count in words]))


@dataclass(frozen=True)
class SpellingBatches:
    """Batches of words as a vision model reads them, probabilities (N, T, classes), with the right words as
    labels.

    ``running_text`` of the words are drawn from ``vocabulary`` as often as they are written there, the others
    are the texts that ``signs`` draws; ``clean`` of both are one-hot characters, as in the paper, the others
    misread.

    A misread word keeps its length, so that positions agree. Only the texts of signs are drawn word by word,
    so that one process makes far more words than a step takes.
    """

    vocabulary: Vocabulary
    signs: WordSampler | None
    misreadings: Misreadings
    config: NetworkConfig
    batch_size: int
    seed: int
    clean: float = 0.3
    running_text: float = 0.5

    def open(self) -> Callable[[int], Batch]:
        vocabulary, lengths = self._encode([fold(word) for word in self.vocabulary.words])
        frequencies = np.cumsum(self.vocabulary.frequencies)

        def draw(group: int) -> Batch:
            rng = np.random.default_rng((self.seed, group))
            of_text = round(self.running_text * GROUP)
            drawn = np.searchsorted(frequencies, rng.random(of_text) * frequencies[-1], side="right")
            signs = [self._sign(rng) for _ in range(GROUP - of_text)]
            of_signs, lengths_of_signs = self._encode(signs)
            labels = np.concatenate([vocabulary[drawn], of_signs])
            ends = np.concatenate([lengths[drawn], lengths_of_signs])
            by_length = np.argsort(ends + rng.random(GROUP)).reshape(-1, BLOCK)
            order = rng.permutation(by_length).ravel()
            return Batch(self._inputs(labels, ends, rng)[order], labels[order], ends[order])

        draw = lru_cache(maxsize=1)(draw)

        def make(number: int) -> Batch:
            """Makes a part of the endless sequence of words, so that processes share a global batch."""
            first, end = number * self.batch_size, (number + 1) * self.batch_size
            parts = []
            while first < end:
                group, place = divmod(first, GROUP)
                rows = slice(place, min(GROUP, place + end - first))
                parts.append([array[rows] for array in draw(group)[:3]])
                first += rows.stop - rows.start
            inputs, labels, ends = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            return Batch(inputs, labels, ends)

        return make

    def _sign(self, rng: np.random.Generator) -> str:
        assert self.signs is not None
        return fold(self.signs.sample(rng))

    def _encode(self, labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return encode(labels, self.config.charset, self.config.steps)

    def _inputs(self, labels: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        probabilities = np.zeros((*labels.shape, self.config.classes), np.float32)
        np.put_along_axis(probabilities, labels[..., None], 1.0, axis=-1)
        misread = np.flatnonzero(rng.random(len(labels)) >= self.clean)
        longest = lengths.max()
        written = (np.arange(longest) < lengths[misread, None])[..., None]
        read_as = self.misreadings.misread(labels[misread, :longest], rng)
        probabilities[misread, :longest] = np.where(written, read_as, probabilities[misread, :longest])
        return probabilities
