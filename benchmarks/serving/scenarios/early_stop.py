"""Engine time and accuracy on labelled crops, with and without early stop, in turns."""

import argparse
import contextlib
import statistics
from pathlib import Path

import httpx

from models.data.sets.folders import UnusableSample, open_set
from models.evaluation.scoring import reads

from ..bodies import BATCH_ITEMS, form
from ..figures import Figure, at_least
from ..flags import add_engine, add_rounds
from ..served import engine_flags, engine_seconds, opened_bundle, serving


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_rounds(parser)
    parser.add_argument("--labels", type=Path, required=True, help="a labelled set of crops")


def measure(arguments: argparse.Namespace) -> list[Figure]:
    samples = labelled(arguments.labels)
    took: dict[bool, list[float]] = {False: [], True: []}
    right = {}
    with serving(opened_bundle(arguments).folder, engine_flags(arguments)) as url:
        for _ in range(arguments.rounds):
            for stop in took:
                before = engine_seconds(url)
                texts = read_all(url, [image for image, _ in samples], early_stop=stop)
                took[stop].append(engine_seconds(url) - before)
                right[stop] = sum(reads(text, label) for text, (_, label) in zip(texts, samples, strict=True))
    seconds = {stop: statistics.median(times) for stop, times in took.items()}
    saved = 1 - seconds[True] / seconds[False]
    return [
        Figure("crops", len(samples), ""),
        Figure("engine, all iterations", seconds[False], "s"),
        Figure("engine, early stop", seconds[True], "s"),
        at_least("engine time saved", 100 * saved, "%", 10),
        Figure("accuracy, all iterations", 100 * right[False] / len(samples), "%"),
        at_least(
            "accuracy, early stop", 100 * right[True] / len(samples), "%", 100 * right[False] / len(samples)
        ),
    ]


def labelled(folder: Path) -> list[tuple[bytes, str]]:
    """Image files and labels of a set, without what cannot be used."""
    crops, samples = open_set(folder), []
    for index in range(len(crops)):
        with contextlib.suppress(UnusableSample):
            samples.append(crops.encoded(index))
    if not samples:
        raise ValueError(f"{folder}: no labelled crop")
    return samples


def read_all(url: str, images: list[bytes], early_stop: bool) -> list[str]:
    """The texts, read in batch requests one after the other; a crop that was refused reads as nothing."""
    texts = []
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        for start in range(0, len(images), BATCH_ITEMS):
            body, content_type = form("images", images[start : start + BATCH_ITEMS])
            answer = client.post(
                "/v1/read/batch",
                content=body,
                headers={"Content-Type": content_type},
                params={"early_stop": early_stop},
            ).raise_for_status()
            texts += [(item.get("result") or {"text": ""})["text"] for item in answer.json()["items"]]
    return texts
