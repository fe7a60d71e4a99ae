"""One photo with 64 regions beside the same 64 crops as a batch, in turns; the engine takes no time."""

import argparse
import json
import statistics
import time

import httpx
import numpy as np

from ..bodies import BATCH_ITEMS, crop, form, jpeg
from ..figures import Figure
from ..flags import add_rounds
from ..served import NO_OP, opened_bundle, serving

_COLUMNS, _CELL = 8, (300, 225)
"""Of the photo, 2400 x 1800 pixels: a crop in each cell."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_rounds(parser, 20)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    photo, boxes = photo_with_crops()
    whole = [jpeg(photo)]
    crops = [jpeg(photo[top : top + height, left : left + width]) for left, top, width, height in boxes]
    regions = json.dumps([{"box": box} for box in boxes])
    requests = {
        "photo, 64 regions": ("/v1/read/regions", *form("image", whole, {"regions": regions})),
        "batch, 64 crops": ("/v1/read/batch", *form("images", crops)),
    }
    took: dict[str, list[float]] = {name: [] for name in requests}
    with serving(opened_bundle(arguments).folder, NO_OP) as url:
        for _ in range(arguments.rounds):
            for name, (path, body, content_type) in requests.items():
                took[name].append(read(url + path, body, content_type))
    sent = {"photo, 64 regions": whole, "batch, 64 crops": crops}
    return [
        *(Figure(f"{name}, sent", sum(map(len, files)) / 1000, "kB") for name, files in sent.items()),
        *(Figure(f"{name}, p50", 1000 * statistics.median(times), "ms") for name, times in took.items()),
    ]


def photo_with_crops() -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """BGR pixels, and the boxes (x, y, width, height) of its crops."""
    rows, pixels = BATCH_ITEMS // _COLUMNS, crop()
    height, width = pixels.shape[:2]
    photo = np.full((rows * _CELL[1], _COLUMNS * _CELL[0], 3), 128, np.uint8)
    boxes = []
    for place in range(BATCH_ITEMS):
        left, top = place % _COLUMNS * _CELL[0], place // _COLUMNS * _CELL[1]
        photo[top : top + height, left : left + width] = pixels
        boxes.append((left, top, width, height))
    return photo, boxes


def read(url: str, body: bytes, content_type: str) -> float:
    """Seconds of a request."""
    before = time.perf_counter()
    answer = httpx.post(
        url, content=body, headers={"Content-Type": content_type}, trust_env=False, timeout=60
    ).raise_for_status()
    took = time.perf_counter() - before
    if not all("result" in item for item in answer.json()["items"]):
        raise ValueError("a crop was not read")
    return took
