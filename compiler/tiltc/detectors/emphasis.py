"""Bold and italics of texts that need no parser: all emphasis in plain pairs of asterisks within a line.

Most responses are like that, and counting them so is many times faster. Where it is not certain that CommonMark would
say the same, the answer is None and the text is parsed.
"""

from __future__ import annotations

import re

#: Code, links, HTML, escapes, emphasis by underscores and odd line ends change what asterisks mean ...
_SPECIAL = re.compile(
    r"[`\x00-\x09\x0b-\x1f\x85\u2028\u2029]|<[A-Za-z/!?]|\][(\[:]|\\[*_]|(?<![^\W_])_|_(?![^\W_])|~~~"
)
#: ... which a text without any of these characters can't have ...
_MAYBE_SPECIAL = re.compile(r"[`\x00-\x09\x0b-\x1f\x85\u2028\u2029<\]\\_~]")
#: ... and so do indentation and quotes.
_INDENTED = re.compile(r"\n(?: {4}| *>| *(?:[-+*]|\d{1,9}[.)]) {5})")
_RUN = re.compile(r"\*+")
_AFTER_CLOSER = frozenset(" \n.,:;!?)\u00a0")


def plain_emphasis(text: str) -> tuple[int, int] | None:
    """(bold, italic) counts of a text, or None where the text has to be parsed."""
    if _MAYBE_SPECIAL.search(text) and _SPECIAL.search(text):
        return None
    framed = f"\n{text}\n"
    if _INDENTED.search(framed):
        return None
    found = [0, 0]
    runs = [(run.start(), run.end()) for run in _RUN.finditer(framed) if not _isolated(framed, *run.span())]
    for opener, closer in zip(runs[::2], runs[1::2], strict=False):
        if not _pair(framed, opener, closer):
            return None
        found[opener[1] - opener[0] - 1] += 1
    return None if len(runs) % 2 else (found[1], found[0])


def _isolated(text: str, start: int, end: int) -> bool:
    """Bullets, rules and products: a run between spaces emphasises nothing."""
    return text[start - 1].isspace() and text[end].isspace()


def _pair(text: str, opener: tuple[int, int], closer: tuple[int, int]) -> bool:
    """Whether two runs are of one length (1 or 2), on one line, and can only open and close."""
    if not opener[1] - opener[0] == closer[1] - closer[0] <= 2:
        return False
    first, last = text[opener[1]], text[closer[0] - 1]
    opens = first.isalnum() or (text[opener[0] - 1].isspace() and not first.isspace())
    closes = last.isalnum() or (text[closer[1]] in _AFTER_CLOSER and not last.isspace())
    inside = text[opener[1] : closer[0]]
    return opens and closes and "\n" not in inside and "|" not in inside
