"""A page to look at: the least certain crops with what each iteration changed, in one HTML file."""

from __future__ import annotations

import difflib
import heapq
import html
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from abinet_client import Prediction, Reading, RefinementStage
from abinet_client.batch.labels import fold
from abinet_client.batch.report_style import STYLE
from abinet_client.batch.sources import Item
from abinet_client.batch.thumbnail import Thumbnails

CROPS = 500
"""How many crops the page shows at most; it takes a few kilobytes for each."""
_BINS = 20
_SURE = (0.5, 0.8, 0.95)
_TURNED = {90: "turned right", 180: "turned upside down", 270: "turned left"}


class _Shown(NamedTuple):
    """`doubt` is 1 - confidence, and 2 if nothing could be read: the order of the page, from the top."""

    doubt: float
    number: int
    item: Item
    reading: Reading | None
    error: str | None
    thumbnail: str | None


class Report:
    """Gathers what the page shows of a run: counts of all crops, and the `CROPS` least certain ones.

    `threshold` is the confidence below which a crop needs a person, if there is one.
    """

    def __init__(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._bins = [0] * _BINS
        self._read = self._failed = self._below = 0
        self._shown: list[_Shown] = []
        self._thumbnail = Thumbnails()

    def add(self, item: Item, reading: Reading | None, error: str | None) -> None:
        """A crop with its reading, iterations included, or its error."""
        if reading is None:
            self._failed += 1
        else:
            self._read += 1
            self._bins[min(int(reading.confidence * _BINS), _BINS - 1)] += 1
            self._below += self._threshold is not None and reading.confidence < self._threshold
        number = self._read + self._failed
        doubt = 2.0 if reading is None else 1 - reading.confidence
        if len(self._shown) == CROPS and (doubt, -number) < self._shown[0][:2]:
            return
        picture = None if item.error else self._thumbnail(item.image)
        # Without the bytes of a crop that is in no file of its own.
        shown = _Shown(doubt, -number, item._replace(image=b""), reading, error, picture)
        if len(self._shown) < CROPS:
            heapq.heappush(self._shown, shown)
        else:
            heapq.heapreplace(self._shown, shown)

    def write(self, path: str) -> None:
        """Raises OSError."""
        self._thumbnail.close()
        partial = f"{path}.part-{os.getpid()}"
        try:
            with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(self._page())
            os.replace(partial, path)
        except BaseException:
            if os.path.exists(partial):
                os.unlink(partial)
            raise

    def _page(self) -> Iterator[str]:
        crops = sorted(self._shown, reverse=True)
        everything = self._read + self._failed
        yield "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
        yield f"<title>{everything:,} crops read</title>\n<style>{STYLE}</style>\n<main>\n"
        yield f"<header><h1>{everything:,} crops</h1><ul class=facts>{''.join(self._facts())}</ul>"
        yield f"{self._histogram()}</header>\n"
        yield from _filters(crops, self._threshold)
        if everything > len(crops):
            yield f"<p class=note>The {len(crops):,} least certain of {everything:,} crops are shown.</p>\n"
        yield "<ol>\n"
        yield from (_card(crop, self._threshold) for crop in crops)
        yield "</ol>\n</main>\n</html>\n"

    def _facts(self) -> Iterator[str]:
        yield f"<li><b>{self._read:,}</b> read"
        if self._threshold is not None:
            yield f"<li><b>{self._below:,}</b> below {self._threshold:g}"
        yield f"<li><b>{self._failed:,}</b> could not be read"

    def _histogram(self) -> str:
        most = max(self._bins) or 1
        bars = "".join(
            f"<i style='height:{max(100 * count / most, 2 if count else 0):.1f}%' "
            f"title='{bin / _BINS:.2f} to {(bin + 1) / _BINS:.2f}: {count:,} crops'></i>"
            for bin, count in enumerate(self._bins)
        )
        return (
            f"<figure><div class=bars>{bars}</div><figcaption>"
            "<span>0</span><span>confidence of the crops</span><span>1</span></figcaption></figure>"
        )


def _filters(crops: Iterable[_Shown], threshold: float | None) -> Iterator[str]:
    """Radio buttons that hide cards, by style alone."""
    counts: dict[str, int] = {"all": 0}
    for crop in crops:
        for kind in ("all", *_kinds(crop, threshold)):
            counts[kind] = counts.get(kind, 0) + 1
    names = {
        "all": "all",
        "below": f"below {threshold or 0:g}",
        "changed": "changed by an iteration",
        "wrong": "not as labelled",
        "failed": "could not be read",
    }
    for kind, name in names.items():
        if counts.get(kind):
            checked = " checked" if kind == "all" else ""
            yield f"<input type=radio name=show id={kind}{checked}><label for={kind}>"
            yield f"{name} <small>{counts[kind]:,}</small></label>\n"


def _kinds(crop: _Shown, threshold: float | None) -> list[str]:
    reading = crop.reading
    if reading is None:
        return ["failed"]
    kinds = []
    if threshold is not None and reading.confidence < threshold:
        kinds.append("below")
    if len({text for text, _ in _steps(reading)}) > 1:
        kinds.append("changed")
    if crop.item.label is not None and fold(crop.item.label) != fold(reading.text):
        kinds.append("wrong")
    return kinds


def _steps(reading: Reading) -> list[tuple[str, Prediction]]:
    """The text after vision and after each fusion, with its prediction."""
    return [
        (prediction.text, prediction)
        for stage in reading.iterations
        for prediction in [stage.fused if isinstance(stage, RefinementStage) else stage]
    ]


def _card(crop: _Shown, threshold: float | None) -> str:
    picture = f"<img src='{crop.thumbnail}' alt=''>" if crop.thumbnail else "<span class=none>no image</span>"
    path = f"<code>{html.escape(crop.item.name)}</code>"
    kinds = " ".join(_kinds(crop, threshold))
    if crop.reading is None:
        text = f"<p class=error>{html.escape(crop.error or '')}</p>"
        return f"<li class='{kinds}'><div class=picture>{picture}</div><div>{text}{path}</div>\n"
    label = ""
    if crop.item.label is not None:
        word = "labelled" if "wrong" in kinds else "as labelled"
        label = f"<span class=label>{word} <b>{html.escape(crop.item.label)}</b></span>"
    turned = f"<span>{_TURNED[crop.reading.turned]}</span>" if crop.reading.turned else ""
    confidence = f"<span>{crop.reading.confidence:.3f}</span>"
    head = f"<p class=text>{_spelled(_final(crop.reading))}{confidence}{turned}{label}</p>"
    return (
        f"<li class='{kinds}'><div class=picture>{picture}</div>"
        f"<div>{head}{_trace(crop.reading)}{path}</div>\n"
    )


def _final(reading: Reading) -> Prediction:
    return _steps(reading)[-1][1]


def _spelled(prediction: Prediction) -> str:
    """Each character in the colour of its confidence."""
    spelled = "".join(
        f"<span class=c{sum(one.confidence >= least for least in _SURE)} title='{one.confidence:.3f}'>"
        f"{html.escape(one.character)}</span>"
        for one in prediction.characters
    )
    return f"<b>{spelled or '<i>nothing</i>'}</b>"


def _trace(reading: Reading) -> str:
    """A line a stage: what it read, with what it changed marked."""
    vision, *refinements = reading.iterations
    assert not isinstance(vision, RefinementStage)
    rows = [_row("vision", None, "", vision)]
    before: Prediction = vision
    for stage in refinements:
        assert isinstance(stage, RefinementStage)
        rows.append(_row(f"iteration {stage.iteration}", stage.language, before.text, stage.fused))
        before = stage.fused
    return "<table><tr><th><th>language<th>fused" + "".join(rows) + "</table>" if refinements else ""


def _row(name: str, language: Prediction | None, before: str, fused: Prediction) -> str:
    if language is None:
        return f"<tr><th>{name}<td><td>{_shown(html.escape(fused.text), fused)}"
    same = " class=same" if language.text == fused.text == before else ""
    return (
        f"<tr{same}><th>{name}<td>{_shown(_marked(before, language.text, struck=False), language)}"
        f"<td>{_shown(_marked(before, fused.text, struck=True), fused)}"
    )


def _shown(text: str, prediction: Prediction) -> str:
    return f"{text or '<i>nothing</i>'} <small>{prediction.confidence:.2f}</small>"


def _marked(before: str, after: str, *, struck: bool) -> str:
    """The text, with what is new in it marked, and what is gone struck out if that is asked for."""
    marked = []
    for kind, start, end, first, last in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if struck and kind != "equal":
            marked.append(f"<del>{html.escape(before[start:end])}</del>")
        if first < last:
            new = html.escape(after[first:last])
            marked.append(new if kind == "equal" else f"<ins>{new}</ins>")
    return "".join(marked)
