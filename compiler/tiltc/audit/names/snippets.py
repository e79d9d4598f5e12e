"""Where a cluster peaks, as a few words around it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from tiltc.audit.model import Snippet

#: characters of a snippet, how far a cut may move to the next word, snippets shown
WIDTH, REACH, SHOWN = 120, 20, 5
NEWLINE, CUT = "⏎", "…"
_JOINER = "\u200d"


def snippets(found: Sequence[tuple[str, int, int]]) -> tuple[Snippet, ...]:
    """The first few (text, start, end) that read differently, each cut to a window around its mark."""
    seen: dict[str, Snippet] = {}
    for text, start, end in found:
        snippet = _snippet(text, max(start, 0), min(end, len(text)))
        if snippet is not None:
            seen.setdefault(snippet.text.strip(CUT).casefold(), snippet)
        if len(seen) == SHOWN:
            break
    return tuple(seen.values())


def _snippet(text: str, start: int, end: int) -> Snippet | None:
    """None where the mark holds nothing that can be shown."""
    start, end = _tight(text, start, min(end, start + WIDTH))
    room = (WIDTH - (end - start)) // 2
    left, right = _left(text, start - room, start), _right(text, end, end + room)
    before, mark, after = (readable(text[a:b]) for a, b in ((left, start), (start, end), (end, right)))
    if not mark.strip():
        return None
    before = (CUT if left > 0 else "") + before.lstrip()
    after = after.rstrip() + (CUT if right < len(text) else "")
    return Snippet(text=before + mark + after, start=len(before), end=len(before) + len(mark))


def _tight(text: str, start: int, end: int) -> tuple[int, int]:
    """The mark without the blanks at its ends, which belong to what is around it."""
    while start < end and text[start] in " \t":
        start += 1
    while start < end and text[end - 1] in " \t":
        end -= 1
    return start, end


def _left(text: str, cut: int, start: int) -> int:
    """A place at or soon after `cut` at which a word starts."""
    if cut <= 0:
        return 0
    blank = re.search(r"\s", text[cut - 1 : min(cut + REACH, start)])
    return cut + blank.start() if blank else cut


def _right(text: str, end: int, cut: int) -> int:
    """A place at or soon before `cut` at which a word ends."""
    if cut >= len(text):
        return len(text)
    low = max(end, cut - REACH)
    blanks = [i for i in range(low, cut + 1) if text[i].isspace()]
    return blanks[-1] if blanks else cut


def readable(text: str) -> str:
    """Text on one line: line ends shown, runs of blanks as one, and nothing that a reader couldn't see."""
    text = re.sub(r"\s*[\n\r\v\f\u2028\u2029]\s*", f" {NEWLINE} ", text)
    seen = "".join(c for c in text if c == _JOINER or c.isspace() or unicodedata.category(c)[0] != "C")
    return re.sub(r"\s+", " ", seen)
