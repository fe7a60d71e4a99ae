"""Words of running text and their frequencies, from which a language model learns to spell."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from models.charset import MAX_LENGTH, fold

#: WikiText's token for words that it does not keep.
UNKNOWN = "<unk>"
#: First line of the table that the official code makes of WikiText: a word as it is misspelt, and as written.
OFFICIAL_HEADER = ["inp", "gt"]


class WordCounts(NamedTuple):
    """``words``: how often each label of 1 to 25 characters of [0-9a-z] is written, the most frequent first.
    The others count what was left out: tokens without such a character, longer ones, and <unk>."""

    words: dict[str, int]
    empty: int
    too_long: int
    unknown: int

    @property
    def total(self) -> int:
        """How many words are written."""
        return sum(self.words.values())


def count_words(files: Iterable[Path], advance: Callable[[int], object] = lambda size: None) -> WordCounts:
    """The words between spaces in UTF-8 text files, plain or .gz; ``advance`` gets the number of characters
    that were read.

    Raises:
        ValueError: a file is not such text.
        OSError: it cannot be read.
    """
    tokens: Counter[str] = Counter()
    for path in files:
        try:
            for line in _lines(path):
                tokens.update(line.split())
                advance(len(line))
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise ValueError(f"{path}: not UTF-8 text, plain or .gz ({error})") from None
    words: Counter[str] = Counter()
    empty = too_long = 0
    unknown = tokens.pop(UNKNOWN, 0)
    for token, times in tokens.items():
        label = fold(token)
        if not label:
            empty += times
        elif len(label) > MAX_LENGTH:
            too_long += times
        else:
            words[label] += times
    return WordCounts(dict(words.most_common()), empty, too_long, unknown)


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        first = next(file, "")
        if first.split() == OFFICIAL_HEADER:
            yield from (line.rpartition("\t")[2] for line in file)
            return
        yield first
        yield from file
