"""Where training crops come from: the word renderer, stored sets, self-training's labels, or a mix of these.

A source is sent to the process that prepares batches and is opened there; crop ``index`` is the same in every
process and in any order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from models.charset import MAX_LENGTH, fold
from models.data.augment import augment
from models.data.framing import move_away, reframe
from models.data.rendering.fonts import family_of, is_held_out
from models.data.rendering.glyphs import LayoutStyle, Typeface
from models.data.rendering.renderer import RenderedCrop, WordRenderer
from models.data.rendering.words import Split, WordSampler
from models.data.sets.folders import LabelledSet, SetPath, open_set
from models.data.sets.samples import UnusableSample, decode_crop

#: With this many unusable samples in a row, a stored set is not worth training on.
PATIENCE = 1000
_AUGMENTATION, _REPLACEMENT, _FRAMING = 1, 2, 3


class Drawn(NamedTuple):
    """image: (H, W, 3) uint8 RGB; label: [0-9a-z]; skipped: unusable samples met on the way to this one."""

    image: np.ndarray
    label: str
    skipped: int = 0


@dataclass(frozen=True)
class Changes:
    """Changes a crop for training, always in the same way for crop ``index`` of a seed: the paper's
    augmentation, with another framing before it and another distance after it.
    """

    augment: bool = False
    reframe: bool = False

    def __call__(self, image: np.ndarray, seed: int, index: int) -> np.ndarray:
        framing = np.random.default_rng((seed, _FRAMING, index)) if self.reframe else None
        if framing:
            image = reframe(image, framing)
        if self.augment:
            image = augment(image, np.random.default_rng((seed, _AUGMENTATION, index)))
        return move_away(image, framing) if framing else image


class CropSource(Protocol):
    """A source from which crops can be drawn endlessly."""

    def open(self) -> Callable[[int], Drawn]:
        """The function from an index, 0 or more, to its crop."""
        ...


@dataclass(frozen=True)
class RenderedCrops:
    """Crops of the word renderer; ``plain`` is the share of easy ones (two colours, upright, few fonts),
    whose words have at most ``longest`` characters."""

    fonts: Sequence[Path]
    words: WordSampler
    seed: int
    split: Split = "train"
    plain: float = 0.0
    longest: int = MAX_LENGTH
    changes: Changes = Changes()
    photographs: Sequence[Path] = ()

    def open(self) -> Callable[[int], Drawn]:
        renderer = WordRenderer(self.fonts, self.words, self.seed, self.split, self.photographs)
        plain = PlainRenderer(self) if self.plain else None

        def draw(index: int) -> Drawn:
            rng = np.random.default_rng((self.seed, index))
            easy = plain is not None and rng.random() < self.plain
            crop = plain.render(rng) if plain is not None and easy else renderer.render(index)
            return Drawn(self.changes(crop.image, self.seed, index), crop.label)

        return draw


class PlainRenderer:
    """Dark on light or light on dark, upright, in a fixed few of the fonts: for the start of a training."""

    TYPEFACES = 24

    def __init__(self, source: RenderedCrops) -> None:
        fonts = [path for path in source.fonts if is_held_out(family_of(path)) == (source.split == "test")]
        self.typefaces = [Typeface(path) for path in fonts[:: max(1, len(fonts) // self.TYPEFACES)]]
        self.words = source.words
        self.longest = source.longest

    def render(self, rng: np.random.Generator) -> RenderedCrop:
        """One crop; another word is drawn until its typeface leaves ink."""
        while True:
            text = self.words.sample(rng)
            typeface = self.typefaces[rng.integers(len(self.typefaces))]
            mask = typeface.lay_out(text, LayoutStyle(), rng)
            if min(mask.shape) > 5 and len(fold(text)) <= self.longest:
                break
        top, bottom, left, right = (int(v) for v in rng.integers(1, 12, 4))
        ink = cv2.copyMakeBorder(mask, top, bottom, left, right, cv2.BORDER_CONSTANT)[..., None] / 255.0
        light, dark = rng.uniform(140, 255, 3), rng.uniform(0, 100, 3)
        paper, colour = (light, dark) if rng.random() < 0.5 else (dark, light)
        image = paper + (colour - paper) * ink + rng.normal(0.0, 6.0, (*ink.shape[:2], 1))
        return RenderedCrop(np.clip(image, 0, 255).astype(np.uint8), fold(text))


@dataclass(frozen=True)
class StoredCrops:
    """Crops of stored sets (LMDB, or folders with labels.tsv), all shuffled anew each epoch. An unusable
    sample is replaced by another one, drawn at random."""

    sets: Sequence[SetPath]
    seed: int
    changes: Changes = Changes()
    limit: int | None = None

    def __len__(self) -> int:
        total = len(Joined(self.sets))
        return min(total, self.limit) if self.limit else total

    def check(self) -> None:
        """Raises ValueError if none of the first samples is usable; one line with the reasons."""
        self._check(Joined(self.sets).crop)

    def check_images(self) -> None:
        """The same for images whose labels do not matter."""
        self._check(Joined(self.sets).image)

    def _check(self, read: Callable[[int], object]) -> None:
        count = len(self)
        names = ", ".join(map(str, self.sets))
        if not count:
            raise ValueError(f"{names}: no samples")
        reasons: Counter[str] = Counter()
        for number in range(min(count, PATIENCE)):
            try:
                read(number)
            except UnusableSample as error:
                reasons[error.reason] += 1
            else:
                return
        found = ", ".join(f"{times} x {reason}" for reason, times in reasons.most_common())
        raise ValueError(f"{names}: none of the first {reasons.total()} samples can be used ({found})")

    def open(self) -> Callable[[int], Drawn]:
        """Raises ValueError if the sets hold nothing usable."""
        samples, count = Joined(self.sets), len(self)
        if not count:
            raise ValueError(f"{', '.join(map(str, self.sets))}: no samples")
        order = _Shuffled(count, self.seed)

        def draw(index: int) -> Drawn:
            position = order(index)
            rng = np.random.default_rng((self.seed, _REPLACEMENT, index))
            for skipped in range(PATIENCE):
                try:
                    image, label = samples.crop(position)
                except UnusableSample:
                    position = int(rng.integers(count))
                    continue
                return Drawn(self.changes(image, self.seed, index), label, skipped)
            raise ValueError(f"{', '.join(map(str, self.sets))}: {PATIENCE} unusable samples in a row")

        return draw


@dataclass(frozen=True)
class PseudoLabelled:
    """Images of stored sets under the labels that self-training gave them: sample number -> label."""

    sets: Sequence[SetPath]
    labels: Mapping[int, str]
    seed: int
    changes: Changes = Changes()

    def open(self) -> Callable[[int], Drawn]:
        samples, numbers = Joined(self.sets), sorted(self.labels)
        order = _Shuffled(len(numbers), self.seed)

        def draw(index: int) -> Drawn:
            number = numbers[order(index)]
            return Drawn(self.changes(samples.image(number), self.seed, index), self.labels[number])

        return draw


@dataclass(frozen=True)
class Mixed:
    """``seconds`` of every batch of ``batch_size`` from ``second``, the rest from ``first``."""

    first: CropSource
    second: CropSource
    seconds: int
    batch_size: int

    def open(self) -> Callable[[int], Drawn]:
        first, second = self.first.open(), self.second.open()
        firsts = self.batch_size - self.seconds

        def draw(index: int) -> Drawn:
            batch, row = divmod(index, self.batch_size)
            return (
                first(batch * firsts + row) if row < firsts else second(batch * self.seconds + row - firsts)
            )

        return draw


class Joined:
    """Several stored sets with consecutive sample numbers."""

    def __init__(self, sets: Sequence[SetPath]) -> None:
        self._sets = [open_set(path) for path in sets]
        self._ends = list(accumulate(map(len, self._sets)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def crop(self, number: int) -> tuple[np.ndarray, str]:
        """Raises UnusableSample."""
        samples, index = self._find(number)
        return samples.crop(index)

    def image(self, number: int) -> np.ndarray:
        """The crop without a look at its label. Raises UnusableSample."""
        samples, index = self._find(number)
        return decode_crop(samples.read(index)[0])

    def _find(self, number: int) -> tuple[LabelledSet, int]:
        place = bisect_right(self._ends, number)
        return self._sets[place], number - (self._ends[place - 1] if place else 0)


class _Shuffled:
    """Sample numbers of endless epochs over ``count`` samples, each in an order of its own."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __call__(self, index: int) -> int:
        epoch, position = divmod(index, self._count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._seed, epoch)).permutation(self._count)
        return int(self._order[position])
