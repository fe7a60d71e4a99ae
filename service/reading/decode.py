"""From logits to text and confidences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from service.crop import Word

NULL = 0
"""The class that stops a word."""

_DIGITS = 6
_USUAL_STEPS = 10
"""Most words stop within this many steps; steps after the stop are not needed."""


class Decoder:
    """Decodes logits of one charset, whose class 0 is the null (stop) and whose others are its characters.

    `calibrate` turns the probabilities of words into confidences; without it they are the confidences.
    """

    def __init__(
        self, charset: str, calibrate: Callable[[np.ndarray], np.ndarray] = lambda probability: probability
    ) -> None:
        self._characters = np.array(["", *charset])
        self._calibrate = calibrate

    def __call__(self, logits: np.ndarray) -> list[Word]:
        """Logits (N, T, C) -> N predictions."""
        steps = logits.shape[1]
        best = _classes(logits)
        lengths = _lengths(best)[:, None]
        # The characters of a row lie side by side in memory: seen as one long string they are the text.
        characters = self._characters[np.where(np.arange(steps) < lengths, best, NULL)]
        texts = characters.view(f"<U{steps}")[:, 0].tolist()
        # Most steps come after the stop and are not needed.
        read = np.arange(steps) <= lengths
        probability = _probability(logits[read], best[read])
        counts = read.sum(axis=-1)
        starts = counts.cumsum() - counts
        of_words = np.multiply.reduceat(probability, starts)
        words = zip(
            texts,
            of_words.round(_DIGITS).tolist(),
            self._calibrate(of_words).round(_DIGITS).tolist(),
            starts.tolist(),
            strict=True,
        )
        of_characters = probability.round(_DIGITS).tolist()
        return [
            Word(text, likely, sure, of_characters[first : first + len(text)])
            for text, likely, sure, first in words
        ]


def certainty(logits: np.ndarray) -> np.ndarray:
    """How sure each crop's word is: the exponentiated mean log-probability of the characters and the stop
    (the certainty of the paper's self-training). Short words have no advantage.

    Logits (N, T, C) -> (N,).
    """
    best = logits.argmax(axis=-1)
    lengths = _lengths(best)[:, None]
    read = np.arange(best.shape[1]) <= lengths
    answer: np.ndarray = np.exp(np.log(_probability(logits, best)).mean(axis=-1, where=read))
    return answer


def settled(before: np.ndarray, after: np.ndarray, threshold: float) -> np.ndarray:
    """For which crops an iteration kept the text and gives every character and the stop at least `threshold`.

    Logits (N, T, C) of N crops before and after the iteration -> (N,), bool.
    """
    best = after.argmax(axis=-1)
    return _throughout((before.argmax(axis=-1) == best) & (_probability(after, best) >= threshold), best)


def sure(logits: np.ndarray, threshold: float) -> np.ndarray:
    """For which crops every character and the stop have at least the probability `threshold`.

    Logits (N, T, C) -> (N,), bool.
    """
    best = logits.argmax(axis=-1)
    return _throughout(_probability(logits, best) >= threshold, best)


def _classes(logits: np.ndarray) -> np.ndarray:
    """The likeliest class of every step, but 0 beyond a stop among the first ones: (N, T, C) -> (N, T)."""
    best = np.zeros(logits.shape[:2], np.int64)
    best[:, :_USUAL_STEPS] = logits[:, :_USUAL_STEPS].argmax(axis=-1)
    longer = (best[:, :_USUAL_STEPS] != NULL).all(axis=-1)
    best[longer, _USUAL_STEPS:] = logits[longer, _USUAL_STEPS:].argmax(axis=-1)
    return best


def _throughout(holds: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """For which crops the condition holds at every character and the stop.

    (N, T), bool, and classes (N, T) -> (N,), bool.
    """
    beyond = np.arange(classes.shape[1]) > _lengths(classes)[:, None]
    answer: np.ndarray = (holds | beyond).all(axis=-1)
    return answer


def _lengths(classes: np.ndarray) -> np.ndarray:
    """Number of characters before the first null, or T if there is none: classes (N, T) -> (N,)."""
    stop = classes == NULL
    return np.where(stop.any(axis=-1), stop.argmax(axis=-1), classes.shape[-1])


def _probability(logits: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Softmax of each step's largest logit, whose class is `best`: (..., C), (...) -> (...), float64."""
    rows, classes = logits.reshape(-1, logits.shape[-1]), best.ravel()
    largest = rows[np.arange(len(rows)), classes]
    # Along so short an axis NumPy's own sum takes four times as long.
    total = np.einsum("rc->r", np.exp(rows - largest[:, None]))
    shares: np.ndarray = np.reciprocal(total, dtype=np.float64).reshape(best.shape)
    return shares
