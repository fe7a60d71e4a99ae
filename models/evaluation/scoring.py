"""What counts as right."""

from __future__ import annotations

import numpy as np


def is_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logits (N, T, classes), labels (N, T) with nulls after the end -> (N,) bool: read without a mistake."""
    classes = logits.argmax(-1)
    ended = np.cumsum(classes == 0, axis=1) > 0
    right: np.ndarray = (np.where(ended, 0, classes) == labels).all(axis=1)
    return right
