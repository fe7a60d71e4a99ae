"""From logits to text and confidences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NULL = 0
"""The class that stops a word."""


class Prediction(NamedTuple):
    """A word as one stage reads it.

    `characters` are the confidences of the characters of `text`, one each, in (0, 1]. `confidence` is the
    certainty of the paper's self-training: the exponentiated mean log-probability of the characters and the
    stop.
    """

    text: str
    confidence: float
    characters: list[float]


class Decoder:
    """Decodes logits of one charset, whose class 0 is the null (stop) and whose others are its characters."""

    def __init__(self, charset: str) -> None:
        self._charset = charset

    def __call__(self, logits: np.ndarray) -> list[Prediction]:
        """Logits (N, T, C) -> N predictions."""
        best = logits.argmax(axis=-1)
        probability = _largest_probability(logits)
        certainty = np.log(probability)
        predictions = []
        for classes, confidences, logs, length in zip(
            best, probability, certainty, _lengths(best), strict=True
        ):
            text = "".join(self._charset[index - 1] for index in classes[:length])
            sure = float(np.exp(logs[: length + 1].mean()))
            predictions.append(Prediction(text, sure, confidences[:length].tolist()))
        return predictions


def settled(before: np.ndarray, after: np.ndarray, threshold: float) -> bool:
    """Whether an iteration kept the text, with every character and the stop at least `threshold` sure.

    Logits (T, C) of one crop before and after the iteration.
    """
    best = after.argmax(axis=-1)
    length = int(_lengths(best[None])[0])
    read = slice(0, length + 1)
    same = np.array_equal(before.argmax(axis=-1)[read], best[read])
    return same and bool((_largest_probability(after)[read] >= threshold).all())


def _lengths(classes: np.ndarray) -> np.ndarray:
    """Characters before the first null, or T without one: classes (N, T) -> (N,)."""
    stop = classes == NULL
    return np.where(stop.any(axis=-1), stop.argmax(axis=-1), classes.shape[-1])


def _largest_probability(logits: np.ndarray) -> np.ndarray:
    """Softmax of each step's largest logit: (..., T, C) -> (..., T)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    probability: np.ndarray = 1.0 / np.exp(shifted).sum(axis=-1)
    return probability
