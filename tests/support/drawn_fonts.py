"""Small fonts and vocabularies that the tests draw and make up themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from models.data.rendering.fonts import ALPHABET, is_held_out

FAMILIES = [f"Squares {chr(65 + i)}{chr(65 + j)}" for i in range(10) for j in range(10)]
TRAIN_FAMILY = next(family for family in FAMILIES if not is_held_out(family))
TEST_FAMILY = next(family for family in FAMILIES if is_held_out(family))


def make_font(
    path: Path,
    family: str,
    characters: str = ALPHABET,
    weight: int = 400,
    seed: int = 0,
    patterns: Sequence[int] | None = None,
) -> Path:
    """A font whose glyphs are squares on a 3x4 grid, by default another for each character and seed."""
    patterns = patterns or np.random.default_rng(seed).permutation(np.arange(1, 2**12)).tolist()
    names = {ord(character): f"u{ord(character)}" for character in characters}
    glyphs = {".notdef": _squares(0b111101101111)}
    glyphs |= {name: _squares(patterns[i]) for i, name in enumerate(names.values())}
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap(names)
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (600, 50) for name in glyphs})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupOS2(usWeightClass=weight)
    builder.setupNameTable({"familyName": family, "styleName": str(weight)})
    builder.setupPost()
    builder.save(path)
    return path


def _squares(pattern: int) -> object:
    pen = TTGlyphPen(None)
    for bit in range(12):
        if pattern >> bit & 1:
            x, y = 50 + 170 * (bit % 3), 170 * (bit // 3)
            pen.moveTo((x, y))
            for point in ((x, y + 160), (x + 160, y + 160), (x + 160, y)):
                pen.lineTo(point)
            pen.closePath()
    return pen.glyph()


def made_up_words(count: int) -> Iterator[str]:
    """Words of five letters, in alphabetical order."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for i in range(count):
        yield "".join(letters[i // 26**place % 26] for place in range(5))
