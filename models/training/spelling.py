"""Texts with spelling noise, on which the language model learns to correct (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.abinet.config import NetworkConfig
from models.data.words import WordSampler, label_of

#: Characters that a reader takes for one another.
CONFUSED = ("o0qdc", "il1jt", "s5", "z27", "b86h", "g9q", "uvn", "mnw", "ecao", "rfn", "xky", "a4", "pq")


def encode(label: str, config: NetworkConfig) -> tuple[np.ndarray, int]:
    """Classes (T,) int32, null after the end, and the length with the stop."""
    classes = np.zeros(config.steps, np.int32)
    classes[: len(label)] = [config.charset.index(character) + 1 for character in label]
    return classes, len(label) + 1


def misspell(label: str, config: NetworkConfig, rng: np.random.Generator) -> str:
    """Some characters replaced, mostly by what looks alike; the length stays, so that positions agree."""
    characters = list(label)
    for i, character in enumerate(characters):
        if rng.random() < 0.15:
            alike = [group for group in CONFUSED if character in group]
            pool = alike[rng.integers(len(alike))] if alike and rng.random() < 0.6 else config.charset
            characters[i] = pool[rng.integers(len(pool))]
    return "".join(characters)


def spelling_batches(
    words: WordSampler, config: NetworkConfig, batch_size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Endless batches: probabilities (N, T, classes) float32 of the misspelt text, labels (N, T) int32 and
    lengths (N,) int32 of the right one."""
    rng = np.random.default_rng(seed)
    while True:
        labels = [label_of(words.sample(rng)) for _ in range(batch_size)]
        right = [encode(label, config) for label in labels]
        wrong = np.stack([encode(misspell(label, config, rng), config)[0] for label in labels])
        sure = rng.uniform(0.5, 1.0, (batch_size, config.steps, 1)).astype(np.float32)
        probabilities = np.eye(config.classes, dtype=np.float32)[wrong] * sure + (1.0 - sure) / config.classes
        yield (
            probabilities.astype(np.float32),
            np.stack([classes for classes, _ in right]),
            np.array([length for _, length in right], np.int32),
        )
