"""The bundled model beside PP-OCRv6 on labelled crops: what each reads right, and its CPU time for a crop.

Every reader has the same cores and reads the same image files, set by set, one reader after another. Ours is
an `abinet serve` of its own: its time is that of the front and of the engine worker. PP-OCRv6 is run in this
process (see pp_ocr); its time is that of decoding the files and reading them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import onnxruntime
from pp_ocr import recogniser
from rapidocr.ch_ppocr_rec import TextRecInput
from serving.processes import processor_seconds
from serving.served import wait_for_batch_sizes

from abinet_client.local_service import local_service
from models.charset import DecodedText
from models.data.sets.folders import SetPath, find_sets
from models.evaluation.reading import CropReader, LabelledCrop, StagedReading, Turns
from models.evaluation.scoring import score_set
from service.commands.evaluate.service_reader import ServiceReader

CROPS_A_CALL = 32


class Timed(CropReader, Protocol):
    """A reader that knows the processor time that it has taken, in seconds."""

    def cpu_s(self) -> float: ...


class Service(ServiceReader):
    """Ours, with every refinement, crops turned as by default."""

    def cpu_s(self) -> float:
        """Of all the processes that this one has started: the service's."""
        return sum(processor_seconds().values())


class PaddleOcr:
    """The recognition model of a PP-OCRv6, which reads each crop as it is."""

    iterations = 0
    turns: Turns = "none"
    calibrated = False

    def __init__(self, size: str, threads: int) -> None:
        self.model = f"PP-OCRv6 {size}"
        self.engine = f"RapidOCR on ONNX Runtime {onnxruntime.__version__}"
        self._cpu_s = 0.0
        self._recognise = recogniser(size, threads)

    def cpu_s(self) -> float:
        return self._cpu_s

    def read(self, crops: Iterable[LabelledCrop]) -> Iterator[StagedReading]:
        """One reading a crop, in the crops' order."""
        crops = iter(crops)
        while bodies := [crop.encoded for crop in islice(crops, CROPS_A_CALL)]:
            started = time.process_time()
            images = [cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) for body in bodies]
            answer = self._recognise(TextRecInput(img=images, return_word_box=False))
            self._cpu_s += time.process_time() - started
            for text, confidence in zip(answer.txts, answer.scores, strict=True):
                yield StagedReading.of([DecodedText(text, confidence)], confidence)


class SetResult(NamedTuple):
    """How one reader did on one set; `ms` is processor time for a crop."""

    set: str
    reader: str
    crops: int
    right: int
    ms: float


def measure(readers: Sequence[Timed], sets: Sequence[SetPath], limit: int | None) -> list[SetResult]:
    """Every set with every reader."""
    results = []
    for path in sets:
        for reader in readers:
            before = reader.cpu_s()
            score = score_set(reader, path, limit)
            ms = 1e3 * (reader.cpu_s() - before) / max(1, score.crops)
            results.append(SetResult(score.name, reader.model, score.crops, int(score.right[-1]), ms))
            print(f"{score.name}: {reader.model} has read {score.crops} crops", file=sys.stderr)
    return results


def together(results: Sequence[SetResult], name: str = "all crops") -> list[SetResult]:
    """Each reader's results as of one set."""
    sums = []
    for reader in dict.fromkeys(result.reader for result in results):
        own = [result for result in results if result.reader == reader]
        crops = sum(result.crops for result in own)
        ms = sum(result.ms * result.crops for result in own) / max(1, crops)
        sums.append(SetResult(name, reader, crops, sum(result.right for result in own), ms))
    return sums


def table(results: Sequence[SetResult]) -> str:
    """Markdown: accuracy in per cent and milliseconds a crop, a row for each set."""
    readers = list(dict.fromkeys(result.reader for result in results))
    heads = [f"{reader}, {what}" for what in ("%", "ms") for reader in readers]
    lines = [f"| set | crops | {' | '.join(heads)} |", f"|---|---:|{'---:|' * len(heads)}"]
    for name in dict.fromkeys(result.set for result in results):
        row = [result for result in results if result.set == name]
        shares = [f"{100 * result.right / max(1, result.crops):.1f}" for result in row]
        cells = [*shares, *(f"{result.ms:.1f}" for result in row)]
        lines.append(f"| {name} | {row[0].crops} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="+", help="sets of labelled crops, or folders of sets")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N crops of each set")
    parser.add_argument("--threads", type=int, default=1, help="cores of each reader (default: %(default)s)")
    parser.add_argument("--bundle", help="in place of the bundled model")
    parser.add_argument("--engine", default="mindspore", help="what runs it (default: %(default)s)")
    parser.add_argument("--worker-python", default=sys.executable, help="interpreter of the engine worker")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= arguments.threads <= len(cores):
        parser.error(f"--threads is from 1 to {len(cores)}, the cores that there are")
    # MindSpore computes on every core that it may use, whatever it is told.
    os.sched_setaffinity(0, cores[: arguments.threads])
    options = ["--engine", arguments.engine, "--worker-python", arguments.worker_python]
    options += ["--bundle", arguments.bundle] if arguments.bundle else []
    sets = find_sets(arguments.sets)
    with ExitStack() as stack:
        address = stack.enter_context(local_service(options))
        wait_for_batch_sizes(address)
        ours = Service(address)
        stack.enter_context(ours)
        readers: list[Timed] = [ours, *(PaddleOcr(size, arguments.threads) for size in ("tiny", "small"))]
        results = measure(readers, sets, arguments.limit)
    results += together(results)
    if arguments.json:
        engines = {reader.model: reader.engine for reader in readers}
        print(json.dumps(_document(results, engines, arguments.threads), indent=2))
    else:
        print(f"{ours.engine}; the others: {readers[1].engine}; cores: {arguments.threads}\n")
        print(table(results))
    return 0


def _document(results: Sequence[SetResult], engines: dict[str, str], threads: int) -> dict[str, Any]:
    rows = [{**result._asdict(), "accuracy": result.right / max(1, result.crops)} for result in results]
    return {"threads": threads, "engines": engines, "results": rows}


if __name__ == "__main__":
    sys.exit(main())
