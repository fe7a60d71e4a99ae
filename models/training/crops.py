"""Batches of rendered word crops, made in a process of their own while the step computes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from models.abinet.config import IMAGE_SIZE, NetworkConfig
from models.data.fonts import family_of, is_held_out
from models.data.glyphs import LayoutStyle, Typeface
from models.data.synth import Crop, WordRenderer
from models.data.words import MAX_LENGTH, Split, WordSampler, label_of
from models.preprocessing import Preprocessing
from models.training.spelling import encode

#: Batches made ahead of the step.
AHEAD = 8

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


class CropSource(NamedTuple):
    """What crops are made of; ``plain`` is the share of easy ones (two colours, upright, few fonts), whose
    words have at most ``longest`` characters."""

    fonts: Sequence[Path]
    words: WordSampler
    seed: int
    split: Split = "train"
    plain: float = 0.0
    longest: int = MAX_LENGTH


class PlainRenderer:
    """Dark on light or light on dark, upright, in a fixed few of the fonts: where a reader starts."""

    TYPEFACES = 24

    def __init__(self, source: CropSource) -> None:
        fonts = [path for path in source.fonts if is_held_out(family_of(path)) == (source.split == "test")]
        self.typefaces = [Typeface(path) for path in fonts[:: max(1, len(fonts) // self.TYPEFACES)]]
        self.words = source.words
        self.longest = source.longest

    def render(self, rng: np.random.Generator) -> Crop:
        """One crop; the word is drawn again until its typeface leaves ink."""
        while True:
            text = self.words.sample(rng)
            typeface = self.typefaces[rng.integers(len(self.typefaces))]
            mask = typeface.lay_out(text, LayoutStyle(), rng)
            if min(mask.shape) > 5 and len(label_of(text)) <= self.longest:
                break
        top, bottom, left, right = (int(v) for v in rng.integers(1, 12, 4))
        ink = cv2.copyMakeBorder(mask, top, bottom, left, right, cv2.BORDER_CONSTANT)[..., None] / 255.0
        light, dark = rng.uniform(140, 255, 3), rng.uniform(0, 100, 3)
        paper, colour = (light, dark) if rng.random() < 0.5 else (dark, light)
        image = paper + (colour - paper) * ink + rng.normal(0.0, 6.0, (*ink.shape[:2], 1))
        return Crop(np.clip(image, 0, 255).astype(np.uint8), label_of(text))


def make_batches(
    source: CropSource, config: NetworkConfig, preprocessing: Preprocessing, batch_size: int, start: int
) -> Iterator[Batch]:
    """Endless batches from batch number ``start`` on: images (N, 3, 32, 128) float32 as the network takes
    them, labels (N, T) int32, lengths (N,) int32. Batch k is the same whenever it is made."""
    renderer = WordRenderer(source.fonts, source.words, source.seed, source.split)
    plain = PlainRenderer(source) if source.plain else None
    index = start * batch_size
    while True:
        images = np.empty((batch_size, 3, *IMAGE_SIZE), np.float32)
        texts = []
        for row in range(batch_size):
            rng = np.random.default_rng((source.seed, index))
            easy = plain is not None and rng.random() < source.plain
            crop = plain.render(rng) if plain is not None and easy else renderer.render(index)
            images[row] = preprocessing(crop.image)
            texts.append(encode(crop.label, config))
            index += 1
        yield images, np.stack([classes for classes, _ in texts]), np.array([n for _, n in texts], np.int32)


def batches_ahead(
    source: CropSource, config: NetworkConfig, preprocessing: Preprocessing, batch_size: int, start: int = 0
) -> Iterator[Batch]:
    """The batches of :func:`make_batches`, made by another process, a few ahead of their use."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(AHEAD)
    arguments = (queue, source, config, preprocessing, batch_size, start)
    process = context.Process(target=_fill, args=arguments, daemon=True)
    process.start()
    try:
        while True:
            yield queue.get(timeout=120)
    finally:
        process.terminate()
        process.join()


def _fill(queue: multiprocessing.Queue, *arguments: object) -> None:
    cv2.setNumThreads(1)
    for batch in make_batches(*arguments):  # type: ignore[arg-type]
        queue.put(batch)
