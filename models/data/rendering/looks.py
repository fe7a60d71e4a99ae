"""The kinds of crops: the texts of a street, a screen and paper, and how each looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from models.data.rendering.backgrounds import Pixels, TextureBank
from models.data.rendering.camera import photograph, scan, screenshot
from models.data.rendering.font_classes import FontClass
from models.data.rendering.glyphs import EM, Image, Typeface
from models.data.rendering.lettering import paint_paper, paint_screen, paint_street
from models.data.rendering.placing import Placed, place_in_street, place_on_paper, place_on_screen
from models.data.rendering.texts import RECEIPT, SCREEN, STREET, Texts
from models.data.rendering.words import WordSampler

Rng = np.random.Generator


@dataclass(frozen=True)
class Look:
    """One kind of crop: its fonts and texts, and the three steps from a text to pixels.

    ``small`` is the share of crops whose letters are drawn at ``ems`` pixels, as a screen draws them, and not
    shrunk from EM.
    """

    fonts: Mapping[FontClass, float]
    texts: Texts
    place: Callable[[Typeface, str, WordSampler, Texts, Rng], Placed | None]
    paint: Callable[[Placed, TextureBank, Rng], Pixels]
    capture: Callable[[Pixels, float, TextureBank, Rng], Image]
    small: float = 0.0
    ems: tuple[int, ...] = (EM,)

    def em(self, rng: Rng) -> int:
        """The size to draw letters at."""
        return self.ems[rng.integers(len(self.ems))] if rng.random() < self.small else EM


STREET_LOOK = Look(
    {"common": 0.24, "text": 0.24, "heavy": 0.14, "hand": 0.17, "display": 0.17, "mono": 0.04},
    STREET,
    place_in_street,
    paint_street,
    photograph,
)
SCREEN_LOOK = Look(
    {"common": 0.5, "text": 0.27, "heavy": 0.08, "hand": 0.07, "display": 0.07, "mono": 0.01},
    SCREEN,
    place_on_screen,
    paint_screen,
    screenshot,
    small=0.4,
    ems=(9, 10, 11, 12, 13, 14, 16, 18, 20),
)
PAPER_LOOK = Look(
    {"common": 0.24, "text": 0.16, "heavy": 0.04, "hand": 0.03, "display": 0.03, "mono": 0.5},
    RECEIPT,
    place_on_paper,
    paint_paper,
    scan,
)
#: The looks and their shares.
LOOKS = ((STREET_LOOK, 0.66), (SCREEN_LOOK, 0.23), (PAPER_LOOK, 0.11))
