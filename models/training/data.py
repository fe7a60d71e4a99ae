"""Opens a recipe's data (fonts, words, stored sets) and makes the batches of each stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.abinet.config import IMAGE_SIZE
from models.charset import encode
from models.data.rendering.fonts import find_fonts
from models.data.rendering.photographs import find_photographs
from models.data.rendering.words import Split, WordSampler
from models.data.sets.folders import SetPath, find_sets
from models.data.sets.samples import UnusableSample
from models.training.batches import Batch, BatchSource, CropBatches
from models.training.misreadings import BUNDLED, Misreadings
from models.training.recipe import Dataset, Recipe, Stage
from models.training.sources import (
    Changes,
    CropSource,
    Joined,
    Mixed,
    PseudoLabelled,
    RenderedCrops,
    StoredCrops,
)
from models.training.spelling import SpellingBatches, Vocabulary
from service.bundle_format.preprocessing import Preprocessing

RENDERED_VALIDATION_CROPS = 256
#: Batches of misread words of each kind, and words in each.
MISREAD_BATCHES, MISREAD_WORDS = 16, 256


class ValidationBatch(NamedTuple):
    """Images (N, 3, 32, 128) and labels (N, T) of one set, N at most the recipe's ``eval.batch_size``."""

    name: str
    images: np.ndarray
    labels: np.ndarray


class TrainingData:
    """The data of a recipe. Everything is opened at first use, so that a stage needs only what it uses, or
    earlier by :meth:`check`.
    """

    def __init__(self, recipe: Recipe, preprocessing: Preprocessing) -> None:
        self.recipe = recipe
        self.preprocessing = preprocessing
        self._misread_words: dict[tuple[Path | None, Path | None], list[tuple[str, Batch]]] = {}

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

    def check(self, stages: Sequence[Stage]) -> None:
        """Opens all that the stages will need, so that nothing turns out to be missing after hours.

        Raises:
            ValueError, OSError: something is missing or cannot be used.
        """
        for stage in stages:
            self.steps(stage, 1)
            if stage.stage == "language":
                self.vocabulary(stage)
                Misreadings.from_file(stage.misreadings or BUNDLED)
                continue
            dataset = self.recipe.train.dataset
            if dataset.roots:
                self._stored(0).check()
            if dataset.rendered or not dataset.roots:
                self._can_render("train")
            if stage.unlabelled:
                StoredCrops(find_sets(stage.unlabelled.roots), 0).check_images()
        if self.recipe.system.val_while_train and any(stage.stage != "language" for stage in stages):
            self._check_validation()

    def _can_render(self, split: Split) -> None:
        self.words(split)
        self.fonts, self.photographs  # noqa: B018 (they are looked for now)

    def _check_validation(self) -> None:
        sets = self.validation_sets()
        if not sets:
            self._can_render("test")
        for path in sets:
            StoredCrops([path], 0, limit=self.recipe.eval.dataset.limit).check()

    def vocabulary(self, stage: Stage) -> Vocabulary:
        """The words of a language stage."""
        if stage.text:
            return Vocabulary.from_file(stage.text)
        words = self.words("train")
        return Vocabulary(words.words, words.frequencies)

    def validation_interval(self, stage: Stage, steps: int) -> int:
        """Steps of a stage from one validation to the next."""
        train = self.recipe.train
        if stage.epochs and train.val_epochs:
            return max(1, round(steps * train.val_epochs / stage.epochs))
        return train.val_interval

    def steps(self, stage: Stage, ranks: int) -> int:
        """How many steps a stage has; an epoch is one pass over the stored sets by all processes, whatever is
        rendered beside them, or over the words of the stage's text.

        Raises:
            ValueError: the stage counts epochs, but its crops are rendered or its words are from a list,
                which never end.
        """
        if stage.steps is not None:
            return stage.steps
        if stage.stage == "language":
            if not stage.text:
                raise ValueError("stage language counts epochs, which needs text, a file of abinet data text")
            assert stage.epochs is not None
            words = float(self.vocabulary(stage).frequencies.sum())
            return max(1, round(stage.epochs * words / (stage.crops * ranks)))
        if not self.recipe.train.dataset.roots:
            raise ValueError(f"stage {stage.stage} counts epochs, which needs train.dataset.dataset_root")
        assert stage.epochs is not None
        stored = stage.crops - self._rendered_crops(stage)
        return max(1, round(stage.epochs * len(self._stored(0)) / (stored * ranks)))

    def batches(self, stage: Stage, seed: int, pseudo_labels: dict[int, str] | None = None) -> BatchSource:
        """The batches of a stage; ``pseudo_labels`` are those of the stage's unlabelled sets."""
        if stage.stage == "language":
            misreadings = Misreadings.from_file(stage.misreadings or BUNDLED)
            return SpellingBatches(
                self.vocabulary(stage),
                None if stage.running_text == 1 else self.words("train"),
                misreadings,
                self.recipe.sizes,
                stage.crops,
                seed,
                stage.clean,
                stage.running_text,
            )
        source = self._labelled(stage, seed)
        if pseudo_labels:
            assert stage.unlabelled is not None
            sets = find_sets(stage.unlabelled.roots)
            second = PseudoLabelled(sets, pseudo_labels, seed, changes_of(stage.unlabelled))
            source = Mixed(source, second, max(1, round(stage.share * stage.crops)), stage.crops)
        return CropBatches(source, self.recipe.sizes, self.preprocessing, stage.crops)

    def _labelled(self, stage: Stage, seed: int) -> CropSource:
        dataset = self.recipe.train.dataset
        if dataset.roots and not dataset.rendered:
            return self._stored(seed)
        words, changes = self.words("train"), changes_of(dataset, rendered=True)
        rendered = RenderedCrops(
            self.fonts, words, seed, "train", stage.plain, stage.longest, changes, self.photographs
        )
        if not dataset.roots:
            return rendered
        return Mixed(self._stored(seed), rendered, self._rendered_crops(stage), stage.crops)

    def _rendered_crops(self, stage: Stage) -> int:
        """The number of rendered crops in each batch with stored crops."""
        rendered = round(self.recipe.train.dataset.rendered * stage.crops)
        return min(rendered, stage.crops - 1)

    def _stored(self, seed: int) -> StoredCrops:
        dataset = self.recipe.train.dataset
        return StoredCrops(self.stored_sets(), seed, changes_of(dataset), dataset.limit)

    def validation(self, share: slice = slice(None)) -> Iterator[ValidationBatch]:
        """All sets to validate on, one after another, without unusable samples; ``share`` of each."""
        for name, crops in self._validation_crops(share):
            rest = iter(crops)
            while batch := list(islice(rest, self.recipe.eval.batch_size)):
                images, labels = zip(*batch, strict=True)
                yield ValidationBatch(name, np.stack(images), np.stack(labels))

    def misread_words(self, stage: Stage) -> list[tuple[str, Batch]]:
        """Words misread as in the language stage, but with misreadings that it does not use: words of its
        vocabulary, and others.
        """
        key = stage.text, stage.misreadings
        if key not in self._misread_words:
            self._misread_words[key] = list(self._misread(stage))
        return self._misread_words[key]

    def _misread(self, stage: Stage) -> Iterator[tuple[str, Batch]]:
        misreadings = Misreadings.from_file(stage.misreadings or BUNDLED)
        sizes, seed = self.recipe.sizes, self.recipe.system.seed
        kinds = {"vocabulary": self.vocabulary(stage)}
        if not stage.text:  # so that no word is left out
            unknown = self.words("test")
            kinds["unknown words"] = Vocabulary(unknown.words, unknown.frequencies)
        for name, words in kinds.items():
            make = SpellingBatches(words, None, misreadings, sizes, MISREAD_WORDS, seed, 0.0, 1.0).open()
            yield from ((name, make(number)) for number in range(MISREAD_BATCHES))

    def stored_sets(self) -> list[SetPath]:
        """The stored sets that are trained on."""
        roots = self.recipe.train.dataset.roots
        return find_sets(roots) if roots else []

    def validation_sets(self) -> list[SetPath]:
        """The stored sets to validate on: those that ``eval.val_sets`` names, or all; none means rendering.

        Raises:
            ValueError: no set has such a name.
        """
        wanted, dataset = self.recipe.eval.val_sets, self.recipe.eval.dataset
        if not dataset.roots:
            return []
        found = {path.resolve().name: path for path in find_sets(dataset.roots)}
        unknown = [name for name in wanted if name not in found]
        if unknown:
            raise ValueError(f"eval.val_sets: no set {', '.join(unknown)}; there are {', '.join(found)}")
        return [path for path in find_sets(dataset.roots) if not wanted or path.resolve().name in wanted]

    def _validation_crops(
        self, share: slice
    ) -> Iterator[tuple[str, Iterable[tuple[np.ndarray, np.ndarray]]]]:
        sets = self.validation_sets()
        if not sets:
            yield "rendered", self._rendered_validation[share]
        left = self.recipe.eval.dataset.limit
        for path in sets:
            samples = Joined([path])
            taken = range(len(samples))[:left]
            left = None if left is None else left - len(taken)
            yield path.resolve().name, self._stored_validation(samples, taken[share])

    def _stored_validation(
        self, samples: Joined, numbers: Iterable[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in numbers:
            try:
                image, label = samples.crop(number)
            except UnusableSample:
                continue
            yield self.preprocessing(image, IMAGE_SIZE), self._classes(label)

    @cached_property
    def _rendered_validation(self) -> list[tuple[np.ndarray, np.ndarray]]:
        words, seed = self.words("test"), self.recipe.system.seed
        source = RenderedCrops(self.fonts, words, seed, "test", photographs=self.photographs)
        crops = map(source.open(), range(self.recipe.eval.dataset.limit or RENDERED_VALIDATION_CROPS))
        return [(self.preprocessing(crop.image, IMAGE_SIZE), self._classes(crop.label)) for crop in crops]

    def _classes(self, label: str) -> np.ndarray:
        """(T,) int32, null after the end."""
        (classes,), _ = encode([label], self.recipe.sizes.charset, self.recipe.sizes.steps)
        return np.asarray(classes)


def changes_of(dataset: Dataset, rendered: bool = False) -> Changes:
    """The changes that the recipe asks for, for the stored or the rendered crops of a dataset."""
    wanted = ("all",) if rendered else ("stored", "all")
    return Changes(dataset.augment in wanted, dataset.reframe in wanted)


def unlabelled_numbers(dataset: Dataset, rank: int, ranks: int) -> tuple[list[SetPath], range]:
    """The unlabelled sets, and the numbers of the samples in them that are this rank's to label."""
    sets = find_sets(dataset.roots)
    count = len(Joined(sets))
    return sets, range(rank, min(count, dataset.limit or count), ranks)
