"""Typefaces as cached glyph masks, and words laid out from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

EM = 44
NOT_A_CHARACTER = "\uffff"

# uint8; OpenCV's own annotations know no element types.
Image = npt.NDArray[Any]


class Glyph(NamedTuple):
    """A glyph's ink, 0..255, and where its top left corner lies from the pen on the baseline, in pixels."""

    mask: Image
    left: int
    top: int
    advance: float


EMPTY = Glyph(np.zeros((0, 0), np.uint8), 0, 0, 0.0)


class LayoutStyle(NamedTuple):
    """How the letters of a word stand: em-relative spacing, horizontal stretch, jitter, small capitals (their
    size relative to the capitals), and the width of a stencil's bridges relative to the em, 0 for none."""

    spacing: float = 0.0
    stretch: float = 1.0
    jitter: float = 0.0
    small_capitals: float = 1.0
    bridge: float = 0.0


class Typeface:
    """One font at `em` pixels; glyphs are drawn once and kept."""

    def __init__(self, path: Path, em: int = EM) -> None:
        self.em = em
        self._font = ImageFont.truetype(str(path), em, layout_engine=ImageFont.Layout.BASIC)
        self._glyphs: dict[str, Glyph] = {}
        self._kerning: dict[str, float] = {}
        self._missing = self._draw(NOT_A_CHARACTER)

    def glyph(self, character: str) -> Glyph:
        if character not in self._glyphs:
            drawn = self._draw(character)
            # A box drawn for punctuation that the font lacks would read as a letter.
            lacking = np.array_equal(drawn.mask, self._missing.mask)
            self._glyphs[character] = EMPTY if lacking else drawn
        return self._glyphs[character]

    def kerning(self, pair: str) -> float:
        if pair not in self._kerning:
            advances = [self.glyph(character).advance for character in pair]
            # A character that the font lacks is left out, and nothing is closer to it or farther from it.
            self._kerning[pair] = self._font.getlength(pair) - sum(advances) if all(advances) else 0.0
        return self._kerning[pair]

    def lay_out(self, text: str, style: LayoutStyle, rng: np.random.Generator) -> Image:
        """The word's mask, cut to its ink: (H, W) uint8, H about `em`; (1, 1) if nothing leaves ink."""
        placed: list[tuple[Image, int, int]] = []
        pen = 0.0
        wobble = rng.normal(0.0, style.jitter * self.em, len(text)) if style.jitter else None
        for i, character in enumerate(text):
            glyph = self.glyph(character)
            small = style.small_capitals if i and character.isalpha() else 1.0
            if glyph.mask.size:
                mask, left, top = glyph.mask, glyph.left, glyph.top
                if style.bridge:
                    mask = _bridged(mask, round(style.bridge * self.em))
                if small != 1.0 or style.stretch != 1.0:
                    mask = cv2.resize(
                        mask, None, fx=small * style.stretch, fy=small, interpolation=cv2.INTER_LINEAR
                    )
                    left, top = int(left * small * style.stretch), round(top * small)
                if wobble is not None:
                    mask, left, top = _tilt(mask, left, top, wobble[i])
                placed.append((mask, round(pen) + left, top))
            kerning = self.kerning(text[i : i + 2]) if i + 1 < len(text) else 0.0
            pen += ((glyph.advance + kerning) * small + style.spacing * self.em) * style.stretch
        return _paste(placed)

    def _draw(self, character: str) -> Glyph:
        em = self.em
        image = PillowImage.new("L", (4 * em, 4 * em))
        try:
            ImageDraw.Draw(image).text((em, 2 * em), character, fill=255, font=self._font, anchor="ls")
        except OSError:  # FreeType's "raster overflow": one outline too intricate, in an otherwise sound font
            return EMPTY
        box = image.getbbox() or (0, 0, 0, 0)
        return Glyph(
            np.asarray(image.crop(box)).copy(), box[0] - em, box[1] - 2 * em, self._font.getlength(character)
        )


def _bridged(mask: Image, width: int) -> Image:
    """A stencil's letter: bowls are cut through in the middle; a stem there stays."""
    height, middle = mask.shape[0], mask.shape[1] // 2
    cut = slice(middle - width // 2, middle - width // 2 + max(1, width))
    if mask.shape[1] < 4 * width or mask[:, cut].mean() > 150:
        return mask
    # In E, F and S, as in O, the middle holds ink at the top and at the bottom.
    if mask[: height // 4, cut].any() and mask[-height // 4 :, cut].any():
        mask = mask.copy()
        mask[:, cut] = 0
    return mask


def _tilt(mask: Image, left: int, top: int, wobble: float) -> tuple[Image, int, int]:
    """Moves a letter up or down by `wobble` pixels and turns it a little the same way."""
    height, width = mask.shape
    margin = 4 + max(height, width) // 6
    matrix = cv2.getRotationMatrix2D((width / 2 + margin, height / 2 + margin), 2.5 * float(wobble), 1.0)
    padded = cv2.copyMakeBorder(mask, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    turned = cv2.warpAffine(padded, matrix, (width + 2 * margin, height + 2 * margin))
    return turned, left - margin, top - margin + round(float(wobble))


def _paste(placed: list[tuple[Image, int, int]]) -> Image:
    if not placed:
        return np.zeros((1, 1), np.uint8)
    left = min(x for _, x, _ in placed)
    top = min(y for _, _, y in placed)
    right = max(x + mask.shape[1] for mask, x, _ in placed)
    bottom = max(y + mask.shape[0] for mask, _, y in placed)
    canvas = np.zeros((bottom - top, right - left), np.uint8)
    for mask, x, y in placed:
        height, width = mask.shape
        window = canvas[y - top : y - top + height, x - left : x - left + width]
        np.maximum(window, mask, out=window)
    return canvas
