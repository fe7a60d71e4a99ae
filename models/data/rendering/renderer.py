"""The word renderer: makes the synthetic training set, as MJSynth and SynthText were made.

Jaderberg et al., "Synthetic Data and Artificial Neural Networks for Natural Scene Text Recognition", 2014;
Gupta et al., "Synthetic Data for Text Localisation in Natural Images", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from models.charset import fold
from models.data.framing import RENDERED, reframe
from models.data.rendering.backgrounds import texture_bank
from models.data.rendering.font_classes import FontShelf
from models.data.rendering.fonts import FontsNotFoundError, family_of, is_held_out
from models.data.rendering.glyphs import Image, Typeface
from models.data.rendering.looks import LOOKS
from models.data.rendering.texts import weighted
from models.data.rendering.words import Split, WordSampler


class RenderedCrop(NamedTuple):
    """image: (H, W, 3) uint8 RGB, H 8..230; label: 1..25 characters of [0-9a-z]."""

    image: Image
    label: str


class WordRenderer:
    """Renders crop after crop; crop `index` of a seed and split has the same pixels in every process."""

    def __init__(
        self,
        fonts: Sequence[Path],
        words: WordSampler,
        seed: int,
        split: Split = "train",
        photographs: Sequence[Path] = (),
    ) -> None:
        """fonts: vetted font files (`find_fonts`), photographs: pictures to put behind letters
        (`find_photographs`), both in an order that belongs to the seed.

        Every twentieth family by hash is kept for the test split.

        Raises: FontsNotFoundError if the split is left without a font.
        """
        self.split = split
        self.seed = seed
        self.fonts = [path for path in fonts if is_held_out(family_of(path)) == (split == "test")]
        if not self.fonts:
            raise FontsNotFoundError(
                f"{len(fonts)} fonts: none left for the {split} split; give more font families"
            )
        self._shelf = FontShelf(self.fonts)
        self._words = words
        self._typefaces: dict[tuple[Path, int], Typeface] = {}
        self._bank = texture_bank(tuple(photographs))

    def render(self, index: int) -> RenderedCrop:
        """The crop at its natural size."""
        rng = np.random.Generator(np.random.PCG64((self.seed, self.split == "test", index)))
        look = weighted(rng, LOOKS)
        while True:
            typeface = self._typeface(self._shelf.draw(look.fonts, rng), look.em(rng))
            text = self._words.sample(rng, look.texts)
            scene = look.place(typeface, text, self._words, look.texts, rng)
            if scene is not None:
                break
        image = look.capture(look.paint(scene, self._bank, rng), scene.tallness, self._bank, rng)
        return RenderedCrop(reframe(image, rng, RENDERED), fold(text))

    def _typeface(self, path: Path, em: int) -> Typeface:
        if (path, em) not in self._typefaces:
            self._typefaces[path, em] = Typeface(path, em)
        return self._typefaces[path, em]


def write_folder(renderer: WordRenderer, count: int, folder: Path) -> Iterator[int]:
    """Writes crops 0..count-1 as PNG and `labels.tsv` (file name, tab, label); yields how many are done.

    Raises: OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.tsv").open("w", encoding="utf-8") as labels:
        for index in range(count):
            crop = renderer.render(index)
            name = f"{index:09}.png"
            (folder / name).write_bytes(encode_png(crop.image))
            labels.write(f"{name}\t{crop.label}\n")
            yield index + 1


def encode_png(image: Image) -> bytes:
    """(H, W, 3) uint8 RGB -> a PNG file's bytes."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    data: bytes = encoded.tobytes()
    return data
