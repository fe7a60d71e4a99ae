"""From the probability that a network gives a word to the probability that the word is right.

Networks are often too sure of their words, or not sure enough. Two numbers, fitted on labelled crops that the
network was not trained on, correct that (Platt 1999; Guo et al. 2017, section 4.1).
"""

import numpy as np

from service.bundle_format.calibration import Calibration, log_odds, sigmoid

__all__ = ["Calibration", "fit"]

_ROUNDS = 100


def fit(probability: np.ndarray, right: np.ndarray) -> Calibration:
    """The calibration with the maximum likelihood for these probabilities of words, (N,), and whether each
    was read correctly, (N,) bool.

    Raises:
        ValueError: all words are right, or all wrong, or the likelier ones are not the right ones.
    """
    yes = int(right.sum())
    no = len(right) - yes
    if not yes or not no:
        raise ValueError(f"{yes} of {len(right)} crops are read correctly; a calibration needs both kinds")
    # Platt's targets: 0 and 1 themselves would make the slope infinite if one threshold separates right from
    # wrong.
    target = np.where(right, (yes + 1) / (yes + 2), 1 / (no + 2))
    inputs = np.stack([log_odds(probability), np.ones(len(right))], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(_ROUNDS):  # Newton's method
        expected = sigmoid(inputs @ weights)
        gradient = inputs.T @ (expected - target)
        curvature = (inputs * (expected * (1 - expected))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        step, before = np.linalg.solve(curvature, gradient), _loss(inputs @ weights, target)
        while np.abs(step).max() > 1e-12 and _loss(inputs @ (weights - step), target) > before:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    slope, intercept = (round(float(weight), 4) for weight in weights)
    if slope <= 0:
        raise ValueError(
            f"likelier words are not right more often on these {len(right)} crops; calibrate on more of them"
        )
    return Calibration(slope, intercept, len(right))


def _loss(log_odds: np.ndarray, target: np.ndarray) -> float:
    """The negative log-likelihood."""
    return float((np.logaddexp(0, log_odds) - target * log_odds).sum())
