"""From a crop that has been read to the answer of its request: plain values, ready for JSON.

They are built by hand, because pydantic's models would take longer than the rest of the answer. A test
compares them with service.http.schemas.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from service.crop import Crop, Word
from service.reading.notes import note_of
from service.types import Timings


class CropAnswer(NamedTuple):
    """The members of a Reading, and its timings."""

    reading: dict[str, Any]
    timings: Timings


def answer(crop: Crop, since: float | None = None) -> CropAnswer:
    """The answer for a crop that has predictions.

    `since` is when encoding began, by time.perf_counter(); the default is when the engine was done.
    """
    final = crop.words[-1]
    reading: dict[str, Any] = {"text": final.text, "confidence": final.confidence, "turned": crop.turned}
    note = note_of(final)
    if note is not None:
        reading["note"] = note
    if crop.insights is not None:
        reading.update(crop.insights)
    if crop.submission.wish.detail:
        reading["iterations"] = _stages(crop.words)
    reading["stopped_at"] = crop.refinements
    timings = _timings(crop, time.perf_counter() - (crop.since if since is None else since))
    reading["timings_ms"] = vars(timings)
    return CropAnswer(reading, timings)


def _timings(crop: Crop, encode_s: float) -> Timings:
    total_s = crop.decode_s + crop.queue_s + crop.batch_s + crop.vision_s + crop.refine_s + encode_s
    return Timings(
        decode=round(1e3 * crop.decode_s, 3),
        queue=round(1e3 * crop.queue_s, 3),
        batch=round(1e3 * crop.batch_s, 3),
        vision=round(1e3 * crop.vision_s, 3),
        refine=round(1e3 * crop.refine_s, 3),
        encode=round(1e3 * encode_s, 3),
        total=round(1e3 * total_s, 3),
    )


def _stages(predictions: list[Word]) -> list[dict[str, Any]]:
    vision, *refined = map(_word, predictions)
    stages = [{"stage": "vision", **vision}]
    for iteration, (language, fused) in enumerate(zip(refined[0::2], refined[1::2], strict=True), start=1):
        stages.append({"stage": "refinement", "iteration": iteration, "language": language, "fused": fused})
    return stages


def _word(prediction: Word) -> dict[str, Any]:
    text, probability, _, characters = prediction
    pairs = zip(text, characters, strict=True)
    return {
        "text": text,
        "confidence": probability,
        "characters": [{"character": character, "confidence": sure} for character, sure in pairs],
    }
