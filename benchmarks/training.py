"""Times training on a CPU: the step of each network and stage, and the pipeline that feeds it.

Each figure is the median of its turns in a process of its own, bound to the cores it is said to have. The
last columns say how many crops one core prepares while the step takes one: below 1 the step would wait.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from models.training.batches import Batch

NETWORKS = ("abinet_small_en", "abinet_resnet45_en")
STAGES = ("vision", "joint")
WARM_UP = 3
STEPS = 100_000
#: Batches of the language stage whose words are drawn together, see models/training/spelling.py.
GROUP = 16


def in_a_process(cores: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, from a new process bound to the first ``cores`` cores."""
    spawn = multiprocessing.get_context("spawn")
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    with ProcessPoolExecutor(1, spawn, initializer=os.sched_setaffinity, initargs=(0, chosen)) as pool:
        return pool.submit(function, *arguments).result()


def median_seconds(work: Callable[[], object], turns: int) -> float:
    for _ in range(WARM_UP):
        work()
    seconds = []
    for _ in range(turns):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def training_step(framework: str, network: str, stage: str, batch: int) -> Callable[[], object]:
    """One step on random crops, or on words as the language stage draws them, ready to be called."""
    from models.training.backends import open_backend
    from models.training.recipe import Recipe

    recipe = Recipe.model_validate(
        {
            "network": network,
            "system": {"seed": 1, "framework": framework},
            "common": {"batch_size": batch},
            "train": {"stages": [{"stage": stage, "steps": STEPS, "lr": 1e-4}]},
        }
    )
    backend = open_backend(recipe)
    (chosen,) = recipe.train.stages
    backend.begin(chosen, chosen.learning_rates(STEPS), seed=1)
    batches = itertools.cycle(words(network, batch) if stage == "language" else [crops(network, batch)])
    return lambda: float(backend.step(next(batches)))


def crops(network: str, batch: int) -> Batch:
    """Noise with labels."""
    from models.abinet import NETWORKS
    from models.training.batches import Batch

    config, rng = NETWORKS[network], np.random.default_rng(0)
    images = rng.normal(size=(batch, 3, 32, 128)).astype(np.float32)
    labels = rng.integers(0, config.classes, (batch, config.steps)).astype(np.int32)
    return Batch(images, labels, rng.integers(2, 12, batch).astype(np.int32))


def words(network: str, batch: int) -> list[Batch]:
    """A group of batches, which hold words of all lengths together."""
    make = word_maker(network, batch)
    return [make(number) for number in range(GROUP)]


def word_maker(network: str, batch: int) -> Callable[[int], Batch]:
    from models.abinet import NETWORKS
    from models.data.rendering.words import WordSampler
    from models.training.misreadings import BUNDLED, Misreadings
    from models.training.spelling import SpellingBatches, Vocabulary

    misreadings = Misreadings.from_file(BUNDLED)
    words = WordSampler.from_wordfreq()
    vocabulary = Vocabulary(words.words, words.frequencies)
    return SpellingBatches(vocabulary, words, misreadings, NETWORKS[network], batch, seed=1).open()


def step_rate(framework: str, network: str, stage: str, batch: int, turns: int) -> float:
    """Crops or words a second of a training step."""
    step = training_step(framework, network, stage, batch)
    if stage != "language":
        return batch / median_seconds(step, turns)

    def group() -> None:
        for _ in range(GROUP):
            step()

    return GROUP * batch / median_seconds(group, max(1, turns // GROUP))


def word_rate(batch: int, turns: int) -> float:
    """Words a second that one process makes."""
    make = word_maker("abinet_small_en", batch)
    groups = itertools.count()

    def group() -> None:
        first = GROUP * next(groups)
        for number in range(first, first + GROUP):
            make(number)

    return GROUP * batch / median_seconds(group, max(1, turns // GROUP))


def pipeline_rate(kind: str, fonts: list[Path] | None, batch: int, turns: int) -> float:
    """Crops a second that one process prepares: rendered, or stored and augmented."""
    import cv2

    from models.abinet import NETWORKS
    from models.data.rendering.fonts import find_fonts
    from models.data.rendering.photographs import find_photographs
    from models.data.rendering.words import WordSampler
    from models.data.sets.lmdb import LmdbWriter
    from models.training.batches import CropBatches
    from models.training.sources import Changes, CropSource, RenderedCrops, StoredCrops
    from service.bundle_format.preprocessing import Preprocessing

    cv2.setNumThreads(1)
    source: CropSource = RenderedCrops(
        find_fonts(fonts), WordSampler.from_wordfreq("train"), seed=1, photographs=find_photographs()
    )
    with tempfile.TemporaryDirectory() as folder:
        if kind == "stored":
            draw = source.open()
            with LmdbWriter(Path(folder) / "set") as writer:
                for index in range(512):
                    crop = draw(index)
                    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(crop.image, cv2.COLOR_RGB2BGR))
                    writer.write(jpeg.tobytes(), crop.label)
            source = StoredCrops([Path(folder) / "set"], seed=1, changes=Changes(augment=True))
        make = CropBatches(
            source, NETWORKS["abinet_small_en"], Preprocessing(shrink_by_area=True), batch
        ).open()
        numbers = iter(range(1_000_000))
        for _ in range(2000 // batch):  # glyphs are drawn once, then kept
            make(next(numbers))
        return batch / median_seconds(lambda: make(next(numbers)), turns)


def operators(network: str, stage: str, batch: int, turns: int) -> list[tuple[str, float]]:
    """Milliseconds of a step by kind of operator, the longest first, from MindSpore's own profiler."""
    import mindspore as ms

    with tempfile.TemporaryDirectory() as folder:
        ms.set_context(mode=ms.GRAPH_MODE)
        profiler = ms.Profiler(output_path=folder, start_profile=False)
        step = training_step("mindspore", network, stage, batch)
        for _ in range(WARM_UP):
            step()
        profiler.start()
        for _ in range(turns):
            step()
        profiler.stop()
        profiler.analyse()
        (table,) = Path(folder).glob("*/FRAMEWORK/cpu_op_type_info_*.csv")
        rows = list(csv.DictReader(table.open(encoding="utf-8")))
    times = [(row["op_type"], float(row["total_compute_time"]) / turns) for row in rows]
    return sorted(times, key=lambda pair: -pair[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--framework", choices=("mindspore", "torch"), default="mindspore")
    parser.add_argument("--language", action="store_true", help="the language stage and its words, instead")
    parser.add_argument("--batch", type=int, default=16, metavar="N")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), metavar="N", help="for the step")
    parser.add_argument("--turns", type=int, default=10, metavar="N")
    parser.add_argument("--fonts", type=Path, action="append", metavar="DIR", help="default: fontconfig's")
    parser.add_argument("--operators", action="store_true", help="what a step's time goes to, instead")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.operators:
        found = {
            f"{network} {stage}": in_a_process(1, operators, network, stage, args.batch, args.turns)
            for network in args.networks
            for stage in STAGES
        }
        print(json.dumps(found, indent=2) if args.json else operators_table(found))
        return 0
    if args.language:
        for name in args.networks:
            rate = in_a_process(
                args.cores, step_rate, args.framework, name, "language", args.batch, args.turns
            )
            print(f"{name}: {rate:.0f} words/s in steps of {args.batch} on {args.cores} cores")
        lengths = [batch.lengths for batch in words(args.networks[0], args.batch)]
        together = float(np.mean([part.max() for part in lengths]))
        mixed = float(np.mean([part.max() for part in np.concatenate(lengths).reshape(-1, GROUP).T]))
        print(f"positions of a batch: {together:.1f}, of words of all lengths {mixed:.1f}")
        print(f"one core makes {in_a_process(1, word_rate, args.batch, args.turns):.0f} words/s")
        return 0
    pipelines = {
        kind: in_a_process(1, pipeline_rate, kind, args.fonts, args.batch, 4 * args.turns)
        for kind in ("rendered", "stored")
    }
    steps = {
        f"{network} {stage}": in_a_process(
            args.cores, step_rate, args.framework, network, stage, args.batch, args.turns
        )
        for network in args.networks
        for stage in STAGES
    }
    if args.json:
        json.dump({"pipeline": pipelines, "step": steps}, sys.stdout, indent=2)
        return 0
    print("| pipeline, one core | crops/s |\n|---|---|")
    for kind, rate in pipelines.items():
        print(f"| {kind} | {rate:.0f} |")
    print(f"\n| step of {args.batch}, {args.cores} cores | crops/s | rendered / step | stored / step |")
    print("|---|---|---|---|")
    for name, rate in steps.items():
        rendered, stored = (pipelines[kind] / rate for kind in ("rendered", "stored"))
        print(f"| {name} | {rate:.1f} | {rendered:.1f} | {stored:.1f} |")
    return 0


def operators_table(found: dict[str, list[tuple[str, float]]], rows: int = 12) -> str:
    parts = []
    for name, times in found.items():
        total = sum(ms for _, ms in times)
        lines = [f"| {kind} | {ms:.1f} | {100 * ms / total:.1f} |" for kind, ms in times[:rows]]
        head = f"| {name}, one core: operator | ms of {total:.0f} | % |\n|---|---|---|\n"
        parts.append(head + "\n".join(lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
