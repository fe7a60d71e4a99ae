"""Opens what a recipe names as data: fonts, words, stored sets; hands out the batches of each stage."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from models.data.fonts import find_fonts
from models.data.photographs import find_photographs
from models.data.samples import UnusableSample
from models.data.sets import find_sets
from models.data.words import Split, WordSampler
from models.preprocessing import Preprocessing
from models.training.batches import BatchSource, CropBatches, encode
from models.training.recipe import Dataset, Recipe, Stage
from models.training.sources import CropSource, Joined, Mixed, PseudoLabelled, RenderedCrops, StoredCrops
from models.training.spelling import SpellingBatches

RENDERED_VALIDATION_CROPS = 256
VALIDATION_BATCH = 64


class TrainingData:
    """The data of a recipe. Everything is looked for at first use, so a stage needs only what it uses."""

    def __init__(self, recipe: Recipe, preprocessing: Preprocessing) -> None:
        self.recipe = recipe
        self.preprocessing = preprocessing

    @cached_property
    def fonts(self) -> list[Path]:
        """Raises FontsNotFoundError."""
        return find_fonts(list(self.recipe.train.dataset.fonts) or None)

    @cached_property
    def photographs(self) -> list[Path]:
        """Raises ValueError if a folder holds none."""
        return find_photographs(list(self.recipe.train.dataset.photographs) or None)

    def words(self, split: Split) -> WordSampler:
        """The recipe's word list, or else wordfreq's English."""
        path = self.recipe.train.dataset.words
        return WordSampler.from_file(path, split) if path else WordSampler.from_wordfreq(split)

    def steps(self, stage: Stage, ranks: int) -> int:
        """How many steps a stage has; an epoch is one pass over the stored sets by all processes.

        Raises:
            ValueError: epochs of crops that are rendered, which never end.
        """
        if stage.steps is not None:
            return stage.steps
        if not self.recipe.train.dataset.roots:
            raise ValueError(f"stage {stage.stage} counts epochs, which needs train.dataset.dataset_root")
        assert stage.epochs is not None
        return max(1, round(stage.epochs * len(self._stored(0)) / (stage.batch_size * ranks)))

    def batches(self, stage: Stage, seed: int, pseudo_labels: dict[int, str] | None = None) -> BatchSource:
        """The batches of a stage; ``pseudo_labels`` are those of the stage's unlabelled sets."""
        if stage.stage == "language":
            return SpellingBatches(self.words("train"), self.recipe.sizes, stage.batch_size, seed)
        source = self._labelled(stage, seed)
        if pseudo_labels:
            assert stage.unlabelled is not None
            sets = find_sets(stage.unlabelled.roots)
            second = PseudoLabelled(sets, pseudo_labels, seed, stage.unlabelled.augment)
            source = Mixed(source, second, stage.share, stage.batch_size)
        return CropBatches(source, self.recipe.sizes, self.preprocessing, stage.batch_size)

    def _labelled(self, stage: Stage, seed: int) -> CropSource:
        dataset = self.recipe.train.dataset
        if dataset.roots:
            return self._stored(seed)
        words = self.words("train")
        return RenderedCrops(
            self.fonts,
            words,
            seed,
            plain=stage.plain,
            longest=stage.longest,
            augment=dataset.augment,
            photographs=self.photographs,
        )

    def _stored(self, seed: int) -> StoredCrops:
        dataset = self.recipe.train.dataset
        return StoredCrops(find_sets(dataset.roots), seed, dataset.augment, dataset.limit)

    def validation(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images (N, 3, 32, 128) and labels (N, T) to validate on, N at most 64; no unusable ones."""
        images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for image, label in self._validation_crops():
            images.append(image)
            labels.append(label)
            if len(images) == VALIDATION_BATCH:
                yield np.stack(images), np.stack(labels)
                images, labels = [], []
        if images:
            yield np.stack(images), np.stack(labels)

    def _validation_crops(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        dataset = self.recipe.eval.dataset
        if not dataset.roots:
            yield from self._rendered_validation
            return
        samples = Joined(find_sets(dataset.roots))
        for number in range(min(len(samples), dataset.limit or len(samples))):
            try:
                image, label = samples.crop(number)
            except UnusableSample:
                continue
            yield self.preprocessing(image), encode(label, self.recipe.sizes)[0]

    @cached_property
    def _rendered_validation(self) -> list[tuple[np.ndarray, np.ndarray]]:
        words, seed = self.words("test"), self.recipe.system.seed
        source = RenderedCrops(self.fonts, words, seed, "test", photographs=self.photographs)
        crops = map(source.open(), range(self.recipe.eval.dataset.limit or RENDERED_VALIDATION_CROPS))
        return [(self.preprocessing(crop.image), encode(crop.label, self.recipe.sizes)[0]) for crop in crops]


def unlabelled_numbers(dataset: Dataset, rank: int, ranks: int) -> tuple[list[Path], range]:
    """The unlabelled sets, and the numbers of the samples in them that are this rank's to label."""
    sets = find_sets(dataset.roots)
    count = len(Joined(sets))
    return sets, range(rank, min(count, dataset.limit or count), ranks)
