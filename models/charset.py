"""The texts that a network reads and writes: their characters, and how classes and logits spell them.

Encodes and decodes for training, evaluation and export. The service has a faster decoder
(service/reading/decode.py); a test compares it with this one.
"""

import unicodedata
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

#: The class that stops a text; class ``i`` is the charset's character ``i - 1``.
NULL = 0

#: The characters that labels are made of and the networks of `models/configs` read, in the order of both
#: reference implementations: 1 comes before 0.
CHARSET_36 = "abcdefghijklmnopqrstuvwxyz1234567890"

#: Characters of the longest text, without its stop (paper section 4.2).
MAX_LENGTH = 25


class DecodedText(NamedTuple):
    """A text as one stage reads it. The network's ``probability`` of the text, in (0, 1], is the product of
    those of its characters and of its stop. ``weakest`` is the least of these, or 0 if it is not known.
    """

    text: str
    probability: float
    weakest: float = 0.0


def fold(text: str) -> str:
    """A text as it is read and compared: without accents (NFKD), in lower case, and without characters
    outside `CHARSET_36`.
    """
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed.lower() if character in CHARSET_36)


def encode(labels: Sequence[str], charset: str, steps: int) -> Tuple[np.ndarray, np.ndarray]:
    """Labels -> classes (N, ``steps``) int32, null after the end, and lengths (N,) int32, the stop counted.

    Raises:
        ValueError: a label leaves no step for its stop, or has a character outside the charset.
    """
    lengths = np.array([len(label) for label in labels], np.int32) + 1
    if (lengths > steps).any():
        raise ValueError(f"a label of {lengths.max() - 1} characters, longer than {steps - 1}")
    code_points = np.array(labels, f"<U{steps}").view(np.uint32).reshape(len(labels), steps)
    known = np.array([0, *map(ord, charset)])
    class_of = np.full(max(known.max(), code_points.max(initial=0)) + 1, -1, np.int32)
    class_of[known] = np.arange(len(known))
    classes = class_of[code_points]
    for number in np.flatnonzero((classes < 0).any(axis=1)):
        raise ValueError(f"label {labels[number]!r} has a character outside of the charset {charset!r}")
    return classes, lengths


def text_lengths(classes: np.ndarray) -> np.ndarray:
    """Characters before the first null, or T without one: classes (N, T) -> (N,)."""
    stops = classes == NULL
    return np.where(stops.any(axis=-1), stops.argmax(axis=-1), classes.shape[-1])


def texts(classes: np.ndarray, charset: str) -> List[str]:
    """Classes (N, T) -> N texts, each of which ends before its first null or has all T characters."""
    return [
        "".join(charset[index - 1] for index in row[:length])
        for row, length in zip(classes, text_lengths(classes))
    ]


def decode(logits: np.ndarray, charset: str) -> List[DecodedText]:
    """Logits (N, T, classes) -> the N words that they spell."""
    logs, read = _log_probabilities(logits)
    logs = np.where(read, logs, 0)
    probabilities, weakest = np.exp(logs.sum(axis=-1)).tolist(), np.exp(logs.min(axis=-1)).tolist()
    return list(map(DecodedText, texts(logits.argmax(axis=-1), charset), probabilities, weakest))


def certainty(logits: np.ndarray) -> np.ndarray:
    """Logits (N, T, classes) -> (N,), in (0, 1]: the exponentiated mean log-probability of a text's
    characters and its stop (paper section 3.4, equation 9), in which short texts have no advantage."""
    logs, read = _log_probabilities(logits)
    return np.exp(np.where(read, logs, 0).sum(axis=-1) / read.sum(axis=-1))


def _log_probabilities(logits: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Logits (N, T, classes) -> the log-probability of each step's likeliest class, (N, T) float64, and which
    steps are a text's characters and its stop, (N, T) bool."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logs = -np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64))
    read = np.arange(logits.shape[1]) <= text_lengths(logits.argmax(axis=-1))[:, None]
    return logs, read
