"""What of other people's text reaches a screen, a page or a log: the one place that decides it."""

from __future__ import annotations

import re

#: Moves the cursor, sets colours, rings, reorders or hides what stands around it, or is half of a character.
_HIDING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def printable(text: object) -> str:
    """Text in which no character drives a terminal or reads as what it is not; as long as before, lines and tabs kept."""
    return _HIDING.sub("\ufffd", str(text))


def one_line(text: object) -> str:
    """Printable text on one line."""
    return printable(" ".join(str(text).split()))
