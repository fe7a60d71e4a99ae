"""How often a reading gets a note, on labelled crops of one word and on rendered lines of several.

    python -m benchmarks.notes --url http://127.0.0.1:8000 /path/to/set ...

The table in docs/service.md ("Several words") is of the bundled model, of real validation crops and of lines
rendered with the fonts that are installed. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from abinet_client import Client, Reading
from models.charset import fold
from models.data.rendering.fonts import find_fonts
from models.data.rendering.renderer import WordRenderer, encode_png
from models.data.rendering.texts import STREET, Texts
from models.data.rendering.words import WordSampler
from models.data.sets.folders import find_sets, open_set

SEED, FONTS = 11, 400


class Lines(WordSampler):
    """Samples of several words, or of so many letters without a space."""

    def __init__(self, words: WordSampler, count: int, letters: int = 0) -> None:
        vars(self).update(vars(words))
        self._count, self._letters = count, letters

    def sample(self, rng: np.random.Generator, texts: Texts = STREET) -> str:
        if not self._letters:
            return " ".join(super(Lines, self).sample(rng, texts) for _ in range(self._count))
        text = ""
        while len(fold(text)) < self._letters:
            text += super().sample(rng, texts)
        return text


def rendered(lines: WordSampler, count: int) -> Iterator[bytes]:
    renderer = WordRenderer(find_fonts()[:FONTS], lines, SEED)
    return (encode_png(renderer.render(index).image) for index in range(count))


def tell(name: str, readings: Iterable[Reading | None]) -> None:
    read = [reading for reading in readings if reading is not None]
    noted = sum(reading.note is not None for reading in read)
    print(f"{name}: {noted} of {len(read)} ({noted / max(1, len(read)):.1%})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("sets", nargs="*", type=Path)
    args = parser.parse_args()
    words = WordSampler.from_wordfreq()
    with Client(args.url, timeout=300) as client:
        crops = [
            open_set(path).encoded(n) for path in find_sets(args.sets) for n in range(len(open_set(path)))
        ]
        outcomes = list(client.read_many([image for image, _ in crops], turns="none"))
        tell("real crops", (outcome.reading for outcome in outcomes))
        right = (
            outcome.reading
            for outcome, (_, label) in zip(outcomes, crops, strict=True)
            if outcome.reading and fold(outcome.reading.text) == fold(label)
        )
        tell("of these the rightly read", right)
        for name, lines, count in (
            ("two words", Lines(words, 2), 200),
            ("three words", Lines(words, 3), 150),
            ("four words", Lines(words, 4), 100),
            ("26 letters and more", Lines(words, 1, 26), 80),
            ("32 letters and more", Lines(words, 1, 32), 80),
        ):
            outcomes = list(client.read_many(rendered(lines, count), turns="none"))
            tell(name, (outcome.reading for outcome in outcomes))


if __name__ == "__main__":
    main()
