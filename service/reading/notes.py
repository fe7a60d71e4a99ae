"""The note on a reading that is probably not of one word."""

from __future__ import annotations

from service.crop import Word

_LONG = 12
_UNSURE = 0.1
NOTE = (
    "The text is long and very unsure: the crop may show several words, or one of more than 25 characters. "
    "Cut it into words."
)


def note_of(word: Word) -> str | None:
    """A sentence if the reading looks like that of several words or of a word that is too long (figures:
    docs/service.md).
    """
    return NOTE if word.probability < _UNSURE and len(word.text) >= _LONG else None
