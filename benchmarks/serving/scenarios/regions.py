"""One photo with 64 regions beside the same 64 crops as a batch, in turns; the engine takes no time."""

import argparse
import json
import statistics
import time

import cv2
import httpx
import numpy as np

from ..bodies import BATCH_ITEMS, SAMPLE, form
from ..figures import Figure
from ..flags import add_rounds
from ..served import NO_OP, opened_bundle, serving

_COLUMNS, _CELL, _CROP = 8, (300, 225), (256, 64)
"""Of the photo, 2400 x 1800 pixels: a crop in each cell."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_rounds(parser, 20)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    photo, boxes = photo_with_crops()
    crops = [photo[top : top + height, left : left + width] for left, top, width, height in boxes]
    sent = {"photo, 64 regions": [jpeg(photo)], "batch, 64 crops": [jpeg(crop) for crop in crops]}
    took: dict[str, list[float]] = {name: [] for name in sent}
    with serving(opened_bundle(arguments).folder, NO_OP) as url:
        for _ in range(arguments.rounds):
            for name, files in sent.items():
                took[name].append(read(url, files, boxes if len(files) == 1 else None))
    figures = [Figure(f"{name}, sent", sum(map(len, files)) / 1000, "kB") for name, files in sent.items()]
    return [
        *figures,
        *(Figure(f"{name}, p50", 1000 * statistics.median(times), "ms") for name, times in took.items()),
    ]


def photo_with_crops() -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """BGR pixels, and the boxes (x, y, width, height) of its crops."""
    rows = BATCH_ITEMS // _COLUMNS
    crop = cv2.resize(cv2.imread(str(SAMPLE)), _CROP)
    photo = np.full((rows * _CELL[1], _COLUMNS * _CELL[0], 3), 128, np.uint8)
    boxes = []
    for place in range(BATCH_ITEMS):
        left, top = place % _COLUMNS * _CELL[0], place // _COLUMNS * _CELL[1]
        photo[top : top + _CROP[1], left : left + _CROP[0]] = crop
        boxes.append((left, top, *_CROP))
    return photo, boxes


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def read(url: str, files: list[bytes], boxes: list[tuple[int, int, int, int]] | None) -> float:
    """Seconds of a request."""
    listed = {} if boxes is None else {"regions": json.dumps([{"box": box} for box in boxes])}
    path, field = ("batch", "images") if boxes is None else ("regions", "image")
    body, content_type = form(field, files)
    for name, text in listed.items():
        head = f'--crop\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        body = head.encode() + body
    before = time.perf_counter()
    answer = httpx.post(
        f"{url}/v1/read/{path}",
        content=body,
        headers={"Content-Type": content_type},
        trust_env=False,
        timeout=60,
    ).raise_for_status()
    took = time.perf_counter() - before
    if not all("result" in item for item in answer.json()["items"]):
        raise ValueError("a crop was not read")
    return took
