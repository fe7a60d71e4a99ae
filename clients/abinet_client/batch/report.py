"""The report: the least certain crops and what each iteration changed, in one HTML file."""

from __future__ import annotations

import datetime
import difflib
import heapq
import html
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from abinet_client import Prediction, Reading, RefinementStage
from abinet_client.batch.labels import Tally, fold
from abinet_client.batch.region_files import TextRegion
from abinet_client.batch.report_style import STYLE
from abinet_client.batch.sources import Item
from abinet_client.batch.thumbnail import HEIGHT, Thumbnail, Thumbnails

BEGIN = "<!doctype html>\n<html lang=en><meta charset=utf-8>"
"""Of every report, by which a report is known."""
CROPS = 500
"""How many crops the page shows at most; it takes a few kilobytes for each."""
_BINS = 20
_BANDS = {"guess": "< 40 %", "weak": "40 to 60", "unsure": "60 to 80", "likely": "80 to 95", "sure": "≥ 95"}
_LEAST = {"sure": 0.95, "likely": 0.8, "unsure": 0.6, "weak": 0.4, "guess": 0.0}
"""The least probability of a character in each of the bands of the service's page."""
_COLUMN = 256
"""The width that the page has for a picture, in pixels."""
_TURNED = {90: "turned right", 180: "turned upside down", 270: "turned left"}


class _Shown(NamedTuple):
    """`doubt` is 1 - confidence, and 2 if nothing could be read: the order of the page, from the top."""

    doubt: float
    number: int
    item: Item
    reading: Reading | None
    error: str | None
    region: TextRegion | None
    thumbnail: Thumbnail | None


class Report:
    """Gathers what the page shows of a run: counts of all crops, and the `CROPS` least certain ones.

    `threshold` is the confidence below which a person must check a crop, if there is one; `about` describes
    the input, the model and the settings of the run.
    """

    def __init__(self, threshold: float | None, about: Mapping[str, str] | None = None) -> None:
        self._threshold = threshold
        self._about = dict(about or {})
        self._began = datetime.datetime.now().astimezone()
        self._models: dict[str, None] = {}
        self._bins = [0] * _BINS
        self._read = self._failed = self._below = 0
        self._shown: list[_Shown] = []
        self._thumbnail = Thumbnails()

    def add(
        self, item: Item, reading: Reading | None, error: str | None, region: TextRegion | None = None
    ) -> None:
        """A crop, or a region of a photo, with its reading, iterations included, or its error."""
        if reading is None:
            self._failed += 1
        else:
            self._read += 1
            self._models[_model(reading)] = None
            self._bins[min(int(reading.confidence * _BINS), _BINS - 1)] += 1
            self._below += self._threshold is not None and reading.confidence < self._threshold
        number = self._read + self._failed
        doubt = 2.0 if reading is None else 1 - reading.confidence
        if len(self._shown) == CROPS and (doubt, -number) < self._shown[0][:2]:
            return
        picture = None if item.error else self._thumbnail(item.image, region.points if region else ())
        # Drop the bytes of a crop that has no file of its own.
        shown = _Shown(doubt, -number, item._replace(image=b""), reading, error, region, picture)
        if len(self._shown) < CROPS:
            heapq.heappush(self._shown, shown)
        else:
            heapq.heapreplace(self._shown, shown)

    def write(self, path: str, tally: Tally | None = None) -> None:
        """`tally`: how many of the labelled crops were read right. Raises OSError."""
        self._thumbnail.close()
        partial = f"{path}.part-{os.getpid()}"
        try:
            with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(self._page(tally))
            os.replace(partial, path)
        except BaseException:
            if os.path.exists(partial):
                os.unlink(partial)
            raise

    def _page(self, tally: Tally | None) -> Iterator[str]:
        crops = sorted(self._shown, reverse=True)
        everything = self._read + self._failed
        yield BEGIN
        yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
        yield f"<title>{everything:,} crops read</title>\n<style>{STYLE}</style>\n<main>\n"
        yield f"<header><h1>{everything:,} crops</h1><ul class=facts>{''.join(self._facts(tally))}</ul>"
        yield f"{self._histogram()}</header>\n<dl>{''.join(self._origin())}</dl>\n"
        yield from _filters(crops, self._threshold)
        yield f"<ul class=legend aria-label='Probability of a character'>{''.join(_legend())}</ul>\n"
        if everything > len(crops):
            yield f"<p class=note>The {len(crops):,} least certain of {everything:,} crops are shown.</p>\n"
        yield "<ol>\n"
        yield from (_card(crop, self._threshold) for crop in crops)
        yield "</ol>\n</main>\n</html>\n"

    def _origin(self) -> Iterator[str]:
        """Model, date, and the settings of the run."""
        told = {
            "Model": ", ".join(self._models) or "none has answered",
            "Date": f"{self._began:%Y-%m-%d %H:%M %Z}",
            **self._about,
        }
        yield from (f"<div><dt>{name}<dd>{html.escape(value)}</div>" for name, value in told.items())

    def _facts(self, tally: Tally | None) -> Iterator[str]:
        if tally is not None and (labelled := tally.right + tally.wrong):
            share = 100 * tally.right / labelled
            yield f"<li><b>{share:.2f} %</b> right ({tally.right:,} of {labelled:,} labelled)"
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


def _model(reading: Reading) -> str:
    name, version, calibrated = reading.model.name, reading.model.version, reading.model.calibrated
    return f"{name} {version}{'' if calibrated else ' (confidences not calibrated)'}"


def _legend() -> Iterator[str]:
    yield from (f"<li><span class={band}></span>{text}" for band, text in _BANDS.items())


def _filters(crops: Iterable[_Shown], threshold: float | None) -> Iterator[str]:
    """Radio buttons that hide cards, by CSS alone."""
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
    picture = _picture(crop.thumbnail) if crop.thumbnail else "<span class=none>no image</span>"
    place = f", region {crop.region.number}" if crop.region else ""
    path = f"<code>{html.escape(crop.item.name)}</code>{place}"
    kinds = " ".join(_kinds(crop, threshold))
    if crop.reading is None:
        text = f"<p class=error>{html.escape(crop.error or '')}</p>"
        return f"<li class='{kinds}'><div class=picture>{picture}</div><div>{text}{path}</div>\n"
    label = ""
    if crop.item.label is not None:
        word = "labelled" if "wrong" in kinds else "as labelled"
        label = f"<span class=label>{word} <b>{html.escape(crop.item.label)}</b></span>"
    turned = f"<span>{_TURNED[crop.reading.turned]}</span>" if crop.reading.turned else ""
    confidence = f"<span>{_percent(crop.reading.confidence)}</span>"
    note = f"<p class=note>{html.escape(crop.reading.note)}</p>" if crop.reading.note else ""
    head = f"<p class=text>{_spelled(_final(crop.reading))}{confidence}{turned}{label}</p>"
    return (
        f"<li class='{kinds}'><div class=picture>{picture}</div>"
        f"<div>{head}{_of_lexicon(crop.reading)}{note}{_trace(crop.reading)}{path}</div>\n"
    )


def _of_lexicon(reading: Reading) -> str:
    if reading.lexicon is None:
        return ""
    word, probability, none = reading.lexicon.word, reading.lexicon.probability, reading.lexicon.none
    return (
        f"<p>of the lexicon <b>{html.escape(word)}</b> {_percent(probability)}, "
        f"none of them {_percent(none)}</p>"
    )


def _picture(thumbnail: Thumbnail) -> str:
    """The picture, enlarged by a whole number, so that a tiny crop shows the pixels that the network gets."""
    uri, width, height = thumbnail
    scale = max(1, min(_COLUMN // width, HEIGHT // height))
    enlarged = " class=pixels" if scale > 1 else ""
    return f"<img src='{uri}' alt='' width={scale * width}{enlarged}>"


def _final(reading: Reading) -> Prediction:
    return _steps(reading)[-1][1]


def _spelled(prediction: Prediction) -> str:
    """Each character in the colour of its confidence."""
    spelled = "".join(
        f"<span class={_band(one.confidence)} title='{one.confidence:.3f}'>"
        f"{html.escape(one.character)}</span>"
        for one in prediction.characters
    )
    return f"<b>{spelled or '<i>nothing</i>'}</b>"


def _percent(confidence: float) -> str:
    """A percentage that is never 100 unless certain, and never 0, because the service rounds."""
    if confidence < 0.0005:
        return "< 0.1 %"
    return f"{confidence if confidence == 1 else min(confidence, 0.999):.1%}".replace("%", " %")


def _band(confidence: float) -> str:
    return next(band for band, least in _LEAST.items() if confidence >= least)


def _trace(reading: Reading) -> str:
    """A line for each stage: the text that it read, with its changes marked."""
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
    """The text with new characters marked and, if `struck`, removed ones struck out."""
    marked = []
    for kind, start, end, first, last in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if struck and kind != "equal":
            marked.append(f"<del>{html.escape(before[start:end])}</del>")
        if first < last:
            new = html.escape(after[first:last])
            marked.append(new if kind == "equal" else f"<ins>{new}</ins>")
    return "".join(marked)
