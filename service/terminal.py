"""Makes text from elsewhere safe to show on a terminal."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import Any, Iterator, TextIO, cast

# Controls except tab and line feed, characters that change the direction or the line, and bytes that are no
# text.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """With escapes such as `\\x1b` for characters that a terminal would obey: names of files may have any."""
    return _UNSEEN.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


@contextlib.contextmanager
def visible_output() -> Iterator[None]:
    """Makes standard output and standard error show only `visible` text if they are terminals."""
    with contextlib.ExitStack() as stack:
        if sys.stdout.isatty():
            stack.enter_context(contextlib.redirect_stdout(cast(TextIO, Terminal(sys.stdout))))
        if sys.stderr.isatty():
            stack.enter_context(contextlib.redirect_stderr(cast(TextIO, Terminal(sys.stderr))))
        yield


class Terminal:
    """A text stream to a terminal that passes on only `visible` text.

    Carriage returns around a text stay: a progress bar begins with one, and is cleared with another.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        shown = text.strip("\r")
        before, _, after = text.partition(shown) if shown else (text, "", "")
        return self._stream.write(before + visible(shown) + after)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
