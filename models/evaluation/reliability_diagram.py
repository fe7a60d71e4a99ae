"""The reliability diagram: how often readings are right against how sure they were."""

from __future__ import annotations

import io

import numpy as np

from models.evaluation.reliability import Reliability


def draw(title: str, reliability: Reliability, confidence: np.ndarray) -> bytes:
    """A PNG: the bins' accuracies over their mean confidences, and how many of the N crops, whose confidences
    are (N,), have which confidence."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (diagram, histogram) = pyplot.subplots(
        2, 1, sharex=True, figsize=(6, 8), layout="constrained", height_ratios=(3, 1)
    )
    diagram.plot([0, 100], [0, 100], color="grey", linestyle="--", label="right as often as sure")
    diagram.plot(
        [100 * one.confidence for one in reliability.bins],
        [100 * one.accuracy for one in reliability.bins],
        "o-",
        label=f"bins of about {len(confidence) // len(reliability.bins):,} crops",
    )
    diagram.set(ylabel="right, %", xlim=(0, 100), ylim=(0, 100))
    diagram.set_title(f"{title}\nexpected calibration error {100 * reliability.error:.1f} %")
    diagram.legend(loc="upper left")
    histogram.hist(100 * confidence, bins=20, range=(0, 100))
    histogram.set(xlabel="confidence, %", ylabel="crops")
    for axes in (diagram, histogram):
        axes.grid(alpha=0.3)
    png = io.BytesIO()
    figure.savefig(png, dpi=110)
    pyplot.close(figure)
    return png.getvalue()
