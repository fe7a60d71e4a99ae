"""Sorts fonts into classes, so that faces of signs are drawn as often as the many text faces."""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.data.rendering.fonts import family_of
from models.data.rendering.texts import weighted

FontClass = Literal["common", "text", "heavy", "hand", "display", "mono"]
CLASSES: tuple[FontClass, ...] = ("common", "text", "heavy", "hand", "display", "mono")

# What browsers, road signs and shop fronts are set in: Helvetica, Times and their like.
_COMMON = re.compile(
    r"liberation (sans|serif)|arimo|tinos|nimbus (sans|roman)|freesans|freeserif$|helvet|switzera|verana"
    r"|dejavu|open ?sans|roboto|lato$|source sans|noto sans|ubuntu|clear sans|carlito|droid|roadgeek"
    r"|tiresias|^inter$|montserrat|raleway|pt sans|fira sans|time roman|termes|^go$|archivo"
    r"|libre franklin|asap|nunito|spartan|urw gothic|vagaround|merriweather|caladea|bebas|gillius"
    r"|universalis|aerial|\bdin\b|bookman|schoolcentury",
    re.IGNORECASE,
)
_HAND = re.compile(
    r"hand|script|brush|pen$|pilgi|kaushan|dancing|kristi|lobster|leckerli|miama|breip|isabella|jessen"
    r"|humor|comic|purisa|domestic|kiloji|yoz|seto|klee|yusei|chilanka|tomson|femke|summersby|delphine"
    r"|^steve|wasn't me|penguin|because we|crystal|euljiro|kiranghae|yeonsung|chancery|caligula"
    r"|coronation|magicmarker|impromptu|linostroke|graphlite|slogan|atchen|boulevard|florencia|paris"
    r"|arabian|cascadetype|kung|lautrec|punk|hamlet|abogado|aoyagi|bajaderka|abecedario|dkg|uncial"
    r"|zainer|artiston|basic|casual|merry",
    re.IGNORECASE,
)
_DISPLAY = re.compile(
    r"stencil|sketch|decorative|train one|cyklop|fantasma|staypuft|engadget|mirage|radis|murmure|apropal"
    r"|blanken|fraktur|blackforest|heidelberg|cloister|scroll|outline|open$|hoboken|ghoul|caps$|theatre"
    r"|tumbleweed|corral|westend|piltdown|military|robotic|claytablet|dublin|greece|kooper|peignoir"
    r"|deuce|doghaus|jupiter|chicago|okolaks|eurofurence|monofur|comfortaa|cherry|modak|reggae|rocknroll"
    r"|^stick$|poiret|gamaliel|gotico|unicode|untaza|dotgothic|sixtyfour|glass tty|3270|havana|beteckna"
    r"|caliban|junkyard|cupola|baloo|lemonada|slab one|cinzel|logix|jua|hanna|graveure|antiquepost"
    r"|canaith|future|techtone|eurotype|wargames|lexend|smiley|essays|kaffeesatz|dosis|jura|smallcaps"
    r"| sc$|titling|ygoth|yswab|romande adf style|poster|abbie|blimpo|quattro$|unvada|howard|pandora"
    r"|sandiego|weise",
    re.IGNORECASE,
)
_MONO = re.compile(r"mono|typewriter|courier|ocr|\bcode\b|console|consola|hack|typist", re.IGNORECASE)
#: The share of ink in letters' boxes from which on a font is heavy: about the boldest eighth.
_HEAVY_INK = 0.5


class FontShelf:
    """Typeface files by class and family."""

    def __init__(self, fonts: Sequence[Path]) -> None:
        shelf: dict[FontClass, dict[str, list[Path]]] = {name: defaultdict(list) for name in CLASSES}
        for path in fonts:
            family = family_of(path)
            shelf[classify(path, family)][family].append(path)
        self._shelf = {name: list(families.values()) for name, families in shelf.items() if families}

    def draw(self, shares: Mapping[FontClass, float], rng: np.random.Generator) -> Path:
        """A class by its share, a family of it, a style of that; any class if the one drawn has no font."""
        families = self._shelf.get(weighted(rng, shares.items()))
        if families is None:
            families = list(self._shelf.values())[rng.integers(len(self._shelf))]
        styles = families[rng.integers(len(families))]
        return styles[rng.integers(len(styles))]


def classify(path: Path, family: str) -> FontClass:
    """By family name if that says it, else by the ink of letters."""
    if _HAND.search(family):
        return "hand"
    if _DISPLAY.search(family):
        return "display"
    font = ImageFont.truetype(str(path), 32, layout_engine=ImageFont.Layout.BASIC)
    if ink_share(font) > _HEAVY_INK:
        return "heavy"
    if _MONO.search(family) or len({font.getlength(letter) for letter in string.ascii_letters}) == 1:
        return "mono"
    return "common" if _COMMON.search(family) else "text"


def ink_share(font: ImageFont.FreeTypeFont) -> float:
    """How much of the boxes of some letters is ink, 0..1: the weight that one sees."""
    ink = area = 0.0
    for letter in "HEnoas":
        left, top, right, bottom = map(int, font.getbbox(letter))
        image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
        ImageDraw.Draw(image).text((-left, -top), letter, fill=255, font=font)
        ink += float(np.asarray(image).sum()) / 255.0
        area += image.width * image.height
    return ink / area
