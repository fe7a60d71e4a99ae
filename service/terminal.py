"""Text from elsewhere, as it may be shown on a terminal."""

from __future__ import annotations

import re
from typing import Any, TextIO

# Controls but tab and line feed, what changes direction or line for a reader, and bytes that are no text.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """With escapes such as `\\x1b` for characters that a terminal would obey: names of files may have any."""
    return _UNSEEN.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class Terminal:
    """A text stream to a terminal, which is only shown what is `visible`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(visible(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
