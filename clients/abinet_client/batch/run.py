"""One run of ``abinet read``: sends crops to the service, and makes rows, counts and the report."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from abinet_client import AbinetError
from abinet_client.batch.flags import serve_options
from abinet_client.batch.label_files import lines_of
from abinet_client.batch.labels import Labels, Tally, fold
from abinet_client.batch.output import Output, format_named
from abinet_client.batch.progress import ProgressBar
from abinet_client.batch.reading import (
    PATIENCE_S,
    READINGS,
    RETRY,
    Result,
    read_items,
    read_photos,
    row_of,
    wait_until_ready,
)
from abinet_client.batch.region_files import RegionFiles, TextRegion
from abinet_client.batch.report import Report
from abinet_client.batch.resume import Earlier
from abinet_client.batch.rows import ALTERNATIVES, LEXICON, REGIONS, key_of
from abinet_client.batch.sources import Inputs, Item
from abinet_client.connect import LOCAL, connect, is_served
from abinet_client.local_service import local_service

SOME_FAILED = 1


@dataclass
class Run:
    """One run: where its crops come from, where its rows go, and its counts."""

    inputs: Inputs
    progress: ProgressBar
    output: Output
    review: Output | None
    earlier: Earlier
    labels: Labels | None
    regions: RegionFiles | None
    lexicon: list[str] | None
    report: Report | None
    detail: bool
    min_confidence: float | None
    tally: Tally = field(default_factory=Tally)
    words: Tally = field(default_factory=Tally)
    """Of the lexicon's words, in this run."""
    done: int = 0
    failed: int = 0
    below: int = 0
    skipped: int = 0
    blank: int = 0
    """Photos without a text that is to be read."""
    began: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    exhausted: bool = False

    @classmethod
    def prepared(cls, args: argparse.Namespace, stack: contextlib.ExitStack) -> Run:
        inputs = Inputs(args.inputs, null=args.null)
        labels = Labels(args.labels) if args.labels and not args.regions else None
        truth = RegionFiles(args.labels) if args.labels and args.regions else None
        regions = RegionFiles(args.regions, truth) if args.regions else None
        lexicon = _words(args.lexicon) if args.lexicon else None
        also = (*(REGIONS if regions else ()), *(LEXICON if lexicon else ()))
        also += ALTERNATIVES if args.alternatives else ()
        earlier = Earlier()

        def opened(path: str | None, format: str | None) -> Output:
            rows = format_named(format, path)(args.detail, also)
            output = Output(path, rows, resume=args.resume, earlier=earlier.add)
            stack.callback(output.close)
            return output

        output = opened(args.output, args.format)
        review = opened(args.review, args.format) if args.review else None
        earlier.seal()
        to_terminal = not args.output and sys.stdout.isatty()
        shown = args.progress if args.progress is not None else sys.stderr.isatty() and not to_terminal
        progress = ProgressBar(None if regions else inputs, shown=shown)
        stack.callback(progress.close)
        report = Report(args.min_confidence, _about(args)) if args.report else None
        return cls(
            inputs,
            progress,
            output,
            review,
            earlier,
            labels,
            regions,
            lexicon,
            report,
            args.detail,
            args.min_confidence,
        )

    @property
    def exit_code(self) -> int:
        return SOME_FAILED if self.failed or self.earlier.failed else 0

    def read(self, args: argparse.Namespace) -> None:
        """Reads everything. Raises ValueError if the service cannot go on."""
        items: Iterator[Any] = self._unread() if self.regions is None else self._unread_photos(self.regions)
        first = next(items, None)
        if first is None:
            return  # do not start a service for nothing
        options: dict[str, Any] = {
            "iterations": args.iterations,
            "early_stop": args.early_stop,
            "turns": args.turns,
            "detail": args.detail or self.report is not None,
            "lexicon": self.lexicon,
            "alternatives": args.alternatives,
        }
        with self._address(args) as address, connect(address, timeout=PATIENCE_S, retry=RETRY) as client:
            try:
                wait_until_ready(client, self.progress.say)
                self.waited = time.monotonic() - self.began
                reading = read_items if self.regions is None else read_photos
                for result in reading(client, itertools.chain([first], items), options):
                    self._take(result)
            except AbinetError as error:
                kept = "; the rows so far are kept, --resume goes on" if self.done else ""
                raise ValueError(f"{address}: {error}{kept}") from error

    @contextlib.contextmanager
    def _address(self, args: argparse.Namespace) -> Iterator[str]:
        if args.url:
            yield args.url
            return
        name = args.bundle or "the bundled model"
        if not serve_options(args) and is_served(LOCAL):
            self.progress.say(f"a service runs at {LOCAL}: --url {LOCAL} would read with it")
        self.progress.say(f"starting a service for {name}")
        options = ["--timeout-s", str(PATIENCE_S), "--drain-s", "1", "--max-queue", str(READINGS)]
        options += serve_options(args)
        with local_service(options, self.progress.say) as address:
            yield address

    def _unread(self) -> Iterator[Item]:
        """The crops that no earlier run has read, with their labels."""
        for item in self.inputs:
            self._flush()
            labelled = item._replace(label=self.labels.of(item)) if self.labels else item
            if item.name not in self.earlier:
                yield labelled
                continue
            self.skipped += 1
            self.progress.skip()
            if labelled.label is not None:
                label = fold(labelled.label)
                self.tally.add(label, self.earlier.reads(item.name, label))
        self.exhausted = True

    def _unread_photos(self, files: RegionFiles) -> Iterator[tuple[Item, list[TextRegion]]]:
        """The photos with the regions that no earlier run has read."""
        for item in self.inputs:
            self._flush()
            try:
                regions = files.of(item)
            except (ValueError, OSError) as error:
                item, regions = item._replace(error=item.error or str(error)), []
            keys = [key_of(item.name, region.number) for region in regions]
            left = [region for region, key in zip(regions, keys) if key not in self.earlier]
            self.skipped += len(regions) - len(left)
            self.blank += not regions and item.error is None
            for region, key in zip(regions, keys):
                if region.text is not None and region not in left:
                    label = fold(region.text)
                    self.tally.add(label, self.earlier.reads(key, label))
            if left or (item.error is not None and item.name not in self.earlier):
                yield item, left
        self.exhausted = True

    def _flush(self) -> None:
        """Puts the rows so far into their files.

        Called each time the next crop is asked for: once for all rows of an answer, and after every row if
        there are no more crops.
        """
        self.output.flush()
        if self.review:
            self.review.flush()

    def _take(self, result: Result) -> None:
        """Writes a crop's row."""
        item, reading, error, region = result
        least = self.min_confidence
        unsure = reading is None or (least is not None and reading.confidence < least)
        (self.review if self.review and unsure else self.output).write(row_of(result, self.detail))
        if self.exhausted:
            self._flush()
        self.done += 1
        self.failed += reading is None
        self.below += unsure and reading is not None
        if item.label is not None:
            label = fold(item.label)
            self.tally.add(label, fold(reading.text) == label if reading else None)
            if self.lexicon:
                self.words.add(
                    label, fold(reading.lexicon.word) == label if reading and reading.lexicon else None
                )
        if self.report:
            self.report.add(item, reading, error, region)
        self.progress.advance()

    def finish(self, args: argparse.Namespace) -> None:
        """Writes the report, and returns the lines that sum up the run."""
        self.progress.close()
        if self.report:
            self.report.write(args.report, self.tally)
        say = self.progress.say
        if args.labels or self.tally.labelled:
            say(str(self.tally))
        if self.words.labelled:
            say(f"of this run, the lexicon's words: {self.words}")
        seconds = time.monotonic() - self.began
        waited = f", {self.waited:,.1f} s of them until the service was ready" if self.waited >= 1 else ""
        rate = self.done / max(seconds - self.waited, 1e-9)
        parts = [f"{self.done:,} crops in {seconds:,.1f} s{waited} ({rate:,.0f} crops/s while reading)"]
        parts.append(f"{self.failed:,} could not be read")
        if self.min_confidence is not None:
            parts.append(f"{self.below:,} below {self.min_confidence:g}")
        if self.skipped:
            parts.append(f"{self.skipped:,} skipped that the output already has")
        if self.blank:
            parts.append(f"{self.blank:,} photos without a legible region")
        if self.regions and self.exhausted and self.regions.unused:
            parts.append(f"{self.regions.unused:,} photos of {args.regions} are not among them")
        if self.inputs.skipped:
            files = sum(self.inputs.skipped.values())
            kinds = ", ".join(f"{count:,} {ending}" for ending, count in self.inputs.skipped.most_common(5))
            parts.append(f"{files:,} files passed over that are no images by their names ({kinds})")
        say("; ".join(parts))


def _words(path: str) -> list[str]:
    """The words of a file, one a line. Raises ValueError if there is none, and OSError."""
    words = [line.strip() for line in lines_of(path) if line.strip()]
    if not words:
        raise ValueError(f"{path}: no words; a lexicon has one a line")
    return words


def _about(args: argparse.Namespace) -> dict[str, str]:
    """The input, the model and the settings of a run, for the report."""
    service = (
        re.sub("//[^/@]*@", "//", args.url) if args.url else f"its own, {args.bundle or 'the bundled model'}"
    )
    settings = [
        "the model's own iterations" if args.iterations is None else f"iterations {args.iterations}",
        f"early stop {'on' if args.early_stop else 'off'}",
        f"turns {args.turns or 'auto'}",
    ]
    if args.regions:
        settings.append(f"regions {args.regions}")
    if args.lexicon:
        settings.append(f"lexicon {args.lexicon}")
    if args.min_confidence is not None:
        settings.append(f"to review below {args.min_confidence:g}")
    told = {"Source": ", ".join(map(str, args.inputs)), "Service": service, "Settings": ", ".join(settings)}
    return {**told, "Labels": args.labels} if args.labels else told
