"""Accuracies as the field's table: text, Markdown, JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from models.evaluation.reading import CropReader
from models.evaluation.reliability import BINS, Bin, Reliability, reliability
from models.evaluation.scoring import SetScore

FIELD_ORDER = (
    "IC03_860", "IC03_867", "IC13_857", "IC13_1015", "IC15_1811", "IC15_2077", "IIIT5k_3000", "SVT", "SVTP",
    "CUTE80",
)  # fmt: skip


class TableRow(NamedTuple):
    """A line of the table: accuracies of every stage, shares of 1."""

    name: str
    crops: int
    accuracy: np.ndarray


def in_field_order(scores: Sequence[SetScore]) -> list[SetScore]:
    """The field's ten sets in the field's order, then the others by name."""
    places = {name.lower(): place for place, name in enumerate(FIELD_ORDER)}
    return sorted(
        scores, key=lambda score: (places.get(score.name.lower(), len(places)), score.name, score.path)
    )


def averages(scores: Sequence[SetScore]) -> tuple[TableRow, TableRow]:
    """Averages over the sets, each counting the same, as in the field's tables; and over all their crops.

    Raises:
        ValueError: no crop was read.
    """
    read = [score for score in scores if score.crops]
    if not read:
        reasons = "; ".join(_skipped(score) for score in scores if score.skipped)
        raise ValueError(f"no crop could be read ({reasons or 'the sets are empty'})")
    crops = sum(score.crops for score in read)
    by_sets = np.mean([score.accuracy for score in read], axis=0)
    by_crops = np.sum([score.right for score in read], axis=0) / crops
    return TableRow(f"average of {len(read)} sets", crops, by_sets), TableRow(
        "average of all crops", crops, by_crops
    )


def reliability_of(scores: Sequence[SetScore]) -> Reliability:
    """How far the confidences of all crops' final readings can be trusted."""
    outcomes = [outcome for score in scores for outcome in score.outcomes]
    confidence, right = (np.array([one[part] for one in outcomes]) for part in (0, 1))
    return reliability(confidence, right.astype(bool))


def text_table(reader: CropReader, scores: Sequence[SetScore]) -> str:
    """For a terminal."""
    rows = _rows(scores)
    heads = ["crops", *_stage_names(reader.iterations)]
    name_width = max(len(row.name) for row in rows)
    widths = [max(len(head), 6) for head in heads]
    lines = [_aligned("set", name_width, heads, widths)]
    lines += [_aligned(row.name, name_width, _cells(row), widths) for row in rows]
    notes = [_skipped(score) for score in scores if score.skipped]
    return "\n".join([_title(reader), "", *lines, *([""] if notes else []), *notes])


def text_reliability(calibrated: bool, reliability: Reliability) -> str:
    """For a terminal: calibration error, reliability table, and what remains at a precision."""
    widths = (6, 6, 6)
    lines = [
        _error(calibrated, reliability),
        "",
        _aligned("confidence", 15, ("crops", "mean", "right"), widths),
    ]
    lines += [_aligned(_between(one), 15, _bin_cells(one), widths) for one in reliability.bins]
    return "\n".join([*lines, "", *_kept(reliability)])


def markdown_table(reader: CropReader, scores: Sequence[SetScore]) -> str:
    """For a model card."""
    heads = ["set", "crops", *_stage_names(reader.iterations)]
    lines = [_title(reader), "", _piped(heads), _piped(["---", *["---:"] * (len(heads) - 1)])]
    lines += [_piped([row.name, *_cells(row)]) for row in _rows(scores)]
    notes = [f"- {_skipped(score)}" for score in scores if score.skipped]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def markdown_reliability(calibrated: bool, reliability: Reliability) -> str:
    """For a model card."""
    lines = [_error(calibrated, reliability), ""]
    lines += [_piped(["confidence", "crops", "mean", "right"]), _piped(["---:"] * 4)]
    lines += [_piped([_between(one), *_bin_cells(one)]) for one in reliability.bins]
    return "\n".join([*lines, "", *(f"- {line}" for line in _kept(reliability))]) + "\n"


def to_json(reader: CropReader, scores: Sequence[SetScore]) -> dict[str, Any]:
    """For programs. Accuracies are shares of 1, of the language model too; null if no crop was read."""
    by_sets, by_crops = averages(scores)
    trusted = reliability_of(scores)
    return {
        "model": reader.model,
        "engine": reader.engine,
        "turns": reader.turns,
        "sets": [
            {
                "name": score.name,
                "path": str(score.path),
                "crops": score.crops,
                "skipped": dict(score.skipped),
                "accuracy": _by_stage(score.accuracy) if score.crops else None,
            }
            for score in scores
        ],
        "average": {"sets": _by_stage(by_sets.accuracy), "crops": _by_stage(by_crops.accuracy)},
        "confidence": {
            "calibrated": reader.calibrated,
            "error": trusted.error,
            "chance": trusted.chance,
            "bins": [one._asdict() for one in trusted.bins],
            "kept": [one._asdict() for one in trusted.kept],
        },
    }


def _rows(scores: Sequence[SetScore]) -> list[TableRow]:
    names = Counter(score.name for score in scores)
    rows = [
        TableRow(score.name if names[score.name] == 1 else str(score.path), score.crops, score.accuracy)
        for score in scores
    ]
    both = averages(scores)
    return [*rows, *both] if len(rows) > 1 else rows


def _cells(row: TableRow) -> list[str]:
    shown = [row.accuracy[0], *row.accuracy[2::2]]
    return [str(row.crops), *("-" if np.isnan(share) else f"{100 * share:.2f}" for share in shown)]


def _stage_names(iterations: int) -> list[str]:
    return ["vision", *(f"iteration {number}" for number in range(1, iterations + 1))]


def _by_stage(accuracy: np.ndarray) -> dict[str, Any]:
    vision, *refined = accuracy.tolist()
    return {"vision": vision, "language": refined[0::2], "fused": refined[1::2]}


def _title(reader: CropReader) -> str:
    return f"Word accuracy in per cent of {reader.model} ({reader.engine}, turns: {reader.turns})"


def _error(calibrated: bool, reliability: Reliability) -> str:
    kind = "calibrated" if calibrated else "uncalibrated"
    return (
        f"Confidence ({kind}) in per cent: expected calibration error {_cent(reliability.error)} over {BINS} "
        f"bins of equally many crops;\nfaultless confidences would show {_cent(reliability.chance)} by chance"
    )


def _bin_cells(one: Bin) -> list[str]:
    return [str(one.crops), _cent(one.confidence), _cent(one.accuracy)]


def _between(one: Bin) -> str:
    return f"{_cent(one.least)} - {_cent(one.greatest)}"


def _cent(share: float) -> str:
    return f"{100 * share:.2f}"


def _kept(reliability: Reliability) -> list[str]:
    """A line for each precision."""
    return [
        f"{100 * one.precision:g} % right: no crop"
        if one.confidence is None
        else f"{100 * one.precision:g} % right: {_cent(one.share)} % of the crops, "
        f"those of confidence {one.confidence:.6f} and more"
        for one in reliability.kept
    ]


def _skipped(score: SetScore) -> str:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in score.skipped.most_common())
    return f"{score.name}: {score.skipped.total()} skipped: {reasons}"


def _aligned(name: str, name_width: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([f"{name:<{name_width}}", *(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))])


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
