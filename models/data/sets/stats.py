"""What one labelled set holds: usable samples, labels, image sizes and formats."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from models.charset import CHARSET_36
from models.data.sets.folders import LabelledSet
from models.data.sets.samples import Reason, UnusableSample, decode_crop, image_format

PERCENTILES = (5, 50, 95)


class SetStats(NamedTuple):
    """``samples``: number in the set. ``read``: how many were examined. ``usable``: how many of these can be
    used. The other fields count usable ones.

    lengths: label length (1..25) -> samples; width, height: 5th, 50th and 95th percentile in pixels.
    """

    samples: int
    read: int
    usable: int
    skipped: Counter[Reason]
    lengths: dict[int, int]
    never_seen: list[str]
    width: list[int]
    height: list[int]
    formats: Counter[str]

    def to_json(self) -> dict[str, Any]:
        """The fields by their names."""
        return self._asdict()


def measure(
    labelled: LabelledSet, indices: Sequence[int], progress: Callable[[], object] = lambda: None
) -> SetStats:
    """Decodes the samples ``indices`` and counts; ``progress`` is called after each."""
    skipped: Counter[Reason] = Counter()
    lengths: Counter[int] = Counter()
    formats: Counter[str] = Counter()
    seen: set[str] = set()
    widths, heights = array("I"), array("I")
    for index in indices:
        try:
            image, label = labelled.encoded(index)
            height, width = decode_crop(image).shape[:2]
        except UnusableSample as unusable:
            skipped[unusable.reason] += 1
        else:
            lengths[len(label)] += 1
            formats[image_format(image)] += 1
            seen.update(label)
            widths.append(width)
            heights.append(height)
        progress()
    return SetStats(
        samples=len(labelled),
        read=len(indices),
        usable=len(widths),
        skipped=skipped,
        lengths=dict(sorted(lengths.items())),
        never_seen=[character for character in sorted(CHARSET_36) if character not in seen],
        width=_percentiles(widths),
        height=_percentiles(heights),
        formats=formats,
    )


def _percentiles(values: array[int]) -> list[int]:
    return [int(value) for value in np.percentile(values, PERCENTILES, method="nearest")] if values else []
