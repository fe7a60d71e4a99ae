"""How a vision model misreads characters, which the language model learns to correct.

``abinet misreadings`` measured ``misreadings.npz`` beside this file, which says how.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.charset import text_lengths
from models.training.batches import Batch

BUNDLED = Path(__file__).with_name("misreadings.npz")
#: The number of degrees of difficulty, and of examples of every character in each.
LEVELS, EXAMPLES = 8, 64
#: A character with fewer examples in a level borrows those of the levels beside it.
FEW = 16


@dataclass(frozen=True)
class Misreadings:
    """Examples of the probabilities that a vision model gave when a character was written.

    examples: (levels, classes, examples, classes) uint8, in 255ths; the second axis is the class that was
    written, the last the one that was read. A level holds words that were about as hard to read, the easiest
    first, because a blurred word is blurred in all its characters. made: how they were measured.
    """

    examples: np.ndarray
    made: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: Path) -> Misreadings:
        """Reads the file. Raises ValueError (one line) if it is missing or not such a file."""
        try:
            with np.load(path) as stored:
                return cls(stored["examples"], json.loads(str(stored["made"])))
        except Exception:  # zipfile, json and numpy each have errors of their own
            raise ValueError(
                f"{path}: not a file of abinet misreadings; make one with that command"
            ) from None

    def save(self, path: Path) -> None:
        """Writes the .npz."""
        with path.open("wb") as file:
            np.savez_compressed(file, examples=self.examples, made=np.array(json.dumps(self.made)))

    def misread(self, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Classes (N, T) -> probabilities (N, T, classes) float32 that a word of one difficulty is read with.

        Hard words are drawn more often than they occurred.
        """
        levels, _, examples, _ = self.examples.shape
        weights = np.arange(1, levels + 1)
        level = rng.choice(levels, len(classes), p=weights / weights.sum())
        chosen = self.examples[level[:, None], classes, rng.integers(examples, size=classes.shape)]
        probabilities = chosen.astype(np.float32)
        return probabilities / probabilities.sum(-1, keepdims=True)


def measure(
    read: Callable[[np.ndarray], np.ndarray],
    batches: Iterable[Batch],
    rng: np.random.Generator,
) -> tuple[Misreadings, dict[str, Any]]:
    """The misreadings of a vision model, ``read``: images (N, 3, 32, 128) -> logits (N, T, classes), and what
    was counted. Words that it reads at another length are left out: the characters after such a mistake are
    shifted, not misread.

    Raises:
        ValueError: too few words were read at their length.
    """
    rows: list[np.ndarray] = []
    written: list[np.ndarray] = []
    word_of: list[np.ndarray] = []
    difficulty: list[float] = []
    crops = right = 0
    for batch in batches:
        probabilities = _softmax(read(batch.inputs))
        classes = probabilities.argmax(-1)
        crops += len(classes)
        for n in np.flatnonzero(text_lengths(classes) + 1 == batch.lengths):
            length = batch.lengths[n]
            labels, read_as = batch.labels[n, :length], probabilities[n, :length]
            right += bool((classes[n, :length] == labels).all())
            rows.append(read_as)
            written.append(labels)
            word_of.append(np.full(length, len(difficulty)))
            difficulty.append(-np.log(read_as[np.arange(length), labels] + 1e-9).mean())
    if len(difficulty) < LEVELS:
        raise ValueError(
            f"{len(difficulty)} of {crops} words were read at their length: train the vision model first"
        )
    order = np.argsort(np.argsort(difficulty, kind="stable"), kind="stable")
    levels = (order * LEVELS // len(order))[np.concatenate(word_of)]
    examples = _examples(np.concatenate(rows), np.concatenate(written), levels, rng)
    counts = {"crops": crops, "of_their_length": len(difficulty), "right": right}
    return Misreadings(np.rint(255 * examples).astype(np.uint8)), counts


def _examples(
    rows: np.ndarray, written: np.ndarray, levels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Characters' probabilities (C, classes), classes (C,) and levels (C,) -> as many of each as wanted."""
    classes = rows.shape[1]
    examples = np.zeros((LEVELS, classes, EXAMPLES, classes), np.float32)
    for written_class in range(classes):
        mine = np.flatnonzero(written == written_class)
        for level in range(LEVELS):
            for distance in range(LEVELS):
                near = mine[np.abs(levels[mine] - level) <= distance]
                if len(near) >= FEW:
                    break
            if len(near):
                examples[level, written_class] = rows[
                    rng.choice(near, EXAMPLES, replace=len(near) < EXAMPLES)
                ]
            else:
                examples[level, written_class, :, written_class] = 1.0
    return examples


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities: np.ndarray = exponents / exponents.sum(-1, keepdims=True)
    return probabilities
