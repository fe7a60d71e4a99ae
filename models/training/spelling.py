"""Texts with spelling noise, on which the language model learns to correct (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.abinet.config import NetworkConfig
from models.data.words import WordSampler, label_of
from models.training.batches import Batch, encode

#: Characters that a reader takes for one another.
CONFUSED = ("o0qdc", "il1jt", "s5", "z27", "b86h", "g9q", "uvn", "mnw", "ecao", "rfn", "xky", "a4", "pq")


def misspell(label: str, config: NetworkConfig, rng: np.random.Generator) -> str:
    """Some characters replaced, mostly by what looks alike; the length stays, so that positions agree."""
    characters = list(label)
    for i, character in enumerate(characters):
        if rng.random() < 0.15:
            alike = [group for group in CONFUSED if character in group]
            pool = alike[rng.integers(len(alike))] if alike and rng.random() < 0.6 else config.charset
            characters[i] = pool[rng.integers(len(pool))]
    return "".join(characters)


@dataclass(frozen=True)
class SpellingBatches:
    """Batches of misspelt texts as probabilities (N, T, classes), and the right texts as labels."""

    words: WordSampler
    config: NetworkConfig
    batch_size: int
    seed: int

    def open(self) -> Callable[[int], Batch]:
        return self._make

    def _make(self, number: int) -> Batch:
        config, first = self.config, number * self.batch_size
        inputs = np.empty((self.batch_size, config.steps, config.classes), np.float32)
        texts = []
        for row in range(self.batch_size):
            rng = np.random.default_rng((self.seed, first + row))
            label = label_of(self.words.sample(rng))
            wrong, _ = encode(misspell(label, config, rng), config)
            sure = rng.uniform(0.5, 1.0, (config.steps, 1))
            inputs[row] = np.eye(config.classes)[wrong] * sure + (1.0 - sure) / config.classes
            texts.append(encode(label, config))
        labels = np.stack([classes for classes, _ in texts])
        return Batch(inputs, labels, np.array([length for _, length in texts], np.int32))
