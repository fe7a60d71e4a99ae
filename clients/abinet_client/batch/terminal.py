"""Makes names of files safe to show on a terminal."""

from __future__ import annotations

import re

# Controls except tab and line feed, and characters that change the direction or the line.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """With escapes such as `\\x1b` for characters that a terminal would obey: names of files may have any."""
    return _UNSEEN.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
