"""Finds the fonts that a word can be drawn with: those that really draw 0-9, A-Z and a-z, legibly."""

from __future__ import annotations

import hashlib
import re
import shutil
import string
import subprocess
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
SUFFIXES = {".ttf", ".otf"}
STYLES_PER_FAMILY = 4
HELD_OUT_OF = 20

# Families that map the alphabet to something else, or draw it so that people cannot read it.
UNSUITABLE = re.compile(
    r"math|symbol|emoji|icon|dingb[ai]t|storytime|barcode|braille|ornament|awesome|chess|music|stix.?size|creep|tengwar|cirth"
    r"|runic|hierogl|phonetic|backslant|fallback|tagbanwa|mirror|joscelyn|keyboard|drmsy|d050000l|elegante|dseg"
    r"|abecedario_p|ecolier_court|fetamont|aboensis|ellhnikh|alfa-beta|missaali|yfrak|\[f500\]|ferrite|brk$",
    re.IGNORECASE,
)


class FontsNotFoundError(ValueError):
    """No usable font; the message says where they were looked for and what to install."""


class Face(NamedTuple):
    """One style of a family, with what tells styles apart."""

    path: Path
    family: str
    weight: int
    width: int
    italic: bool


def find_fonts(folders: Sequence[Path] | None = None) -> list[Path]:
    """The fonts to draw words with, sorted by family, at most four differing styles of each.

    folders: where to look, recursively, for .ttf and .otf files; None asks fontconfig (`fc-list`).

    Raises: FontsNotFoundError if nothing usable is found.
    """
    candidates = _in_folders(folders) if folders else _from_fontconfig()
    families: dict[str, list[Face]] = defaultdict(list)
    drawings: set[bytes] = set()
    for path in candidates:
        face = read_face(path)
        if face is None or UNSUITABLE.search(_name_of(path)):
            continue
        # Families for other scripts share one Latin alphabet: it counts once.
        drawing = draw_alphabet(path)
        if drawing and drawing not in drawings:
            drawings.add(drawing)
            families[face.family].append(face)
    fonts = [face.path for family in sorted(families) for face in _differing_styles(families[family])]
    if not fonts:
        where = ", ".join(map(str, folders)) if folders else "fontconfig"
        raise FontsNotFoundError(
            f"{where}: no font draws 0-9, A-Z and a-z; install Debian's fonts-* packages or name a folder"
        )
    return fonts


def is_held_out(family: str) -> bool:
    """Whether a font family belongs to the test split, by a hash that is the same on every machine."""
    return zlib.crc32(family.encode()) % HELD_OUT_OF == 0


def family_of(path: Path) -> str:
    """The family of a font file; optical sizes ("LM Roman 12", TeX's "drmbx12") are one family."""
    name = _name_of(path)
    if tex := re.fullmatch(r"([a-z]{3})[a-z]*\d+", name):
        return tex[1]
    return re.sub(r"[\s\d]+(regular|bold|italic)?$", "", name, flags=re.IGNORECASE) or name


def _name_of(path: Path) -> str:
    """The family name as FreeType reads it."""
    return ImageFont.truetype(str(path), 16).getname()[0] or path.stem


def read_face(path: Path) -> Face | None:
    """The face in a font file; None if the file is broken or does not map the whole alphabet."""
    try:
        with TTFont(path, lazy=True) as font:
            characters = font.getBestCmap() or {}
            if any(ord(character) not in characters for character in ALPHABET):
                return None
            style = font["OS/2"]
            return Face(
                path, family_of(path), style.usWeightClass, style.usWidthClass, bool(style.fsSelection & 1)
            )
    except Exception:  # A broken table may raise any error of its parser, such as struct.error.
        return None


def draw_alphabet(path: Path, size: int = 32) -> bytes | None:
    """A digest of the 62 characters as drawn; None if one leaves no ink or two of a case look the same."""
    try:
        font = ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
        drawn = {character: _draw(font, character, size) for character in ALPHABET}
    except (OSError, ValueError):
        return None
    if not all(image.getbbox() for image in drawn.values()):
        return None
    bitmaps = {character: image.tobytes() for character, image in drawn.items()}
    upper = {bitmaps[character] for character in string.digits + string.ascii_uppercase}
    lower = {bitmaps[character] for character in string.ascii_lowercase}
    # 0 and O, or 1 and I, look the same in many good fonts.
    if len(upper) < 34 or len(lower) < 26:
        return None
    return hashlib.sha256(b"".join(bitmaps[character] for character in ALPHABET)).digest()


def _draw(font: ImageFont.FreeTypeFont, character: str, size: int) -> Image.Image:
    image = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(image).text((size // 2, 3 * size // 2), character, fill=255, font=font, anchor="ls")
    return image


def _in_folders(folders: Iterable[Path]) -> list[Path]:
    return sorted({p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES})


def _from_fontconfig() -> list[Path]:
    if not shutil.which("fc-list"):
        raise FontsNotFoundError(
            "fontconfig: fc-list is not installed; install fontconfig or pass --fonts FOLDER"
        )
    listed = subprocess.run(
        ["fc-list", "--format", "%{file}\n"], capture_output=True, text=True, check=True
    ).stdout
    return sorted({Path(line) for line in listed.splitlines() if Path(line).suffix.lower() in SUFFIXES})


def _differing_styles(faces: list[Face]) -> list[Face]:
    """At most four faces: each next one differs most in weight, width and slant from those chosen."""
    faces = sorted(
        faces, key=lambda face: (face.italic, abs(face.width - 5), abs(face.weight - 400), face.path)
    )
    chosen = faces[:1]
    while len(chosen) < min(STYLES_PER_FAMILY, len(faces)):
        rest = [face for face in faces if face not in chosen]
        chosen.append(max(rest, key=lambda face: min(_distance(face, other) for other in chosen)))
    return chosen


def _distance(one: Face, other: Face) -> float:
    return (
        abs(one.weight - other.weight) / 300
        + abs(one.width - other.width) / 2
        + (1.0 if one.italic != other.italic else 0.0)
    )
