"""Texts as terms: words and pairs of words, and the marks that make a response look as it does."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache

#: no word of a language is longer; what is, is data
LONGEST = 40

_EMOJI = "\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55"
#: written without spaces: a character is a word here
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(
    rf"""
    ^[ \t]*((?:\#{{1,6}}|[-*+•]|\d{{1,3}}[.)])(?=[ \t])|(?:-{{3,}}|\*{{3,}}|_{{3,}})(?=[ \t]*$))  # opens, or is, a line
    | (https?://[^\s)\]>]+                                        # an address
    |  ```|~~~|\*\*|[|!?—`$]|[{_EMOJI}])                          # a mark
    | (\\[a-z]+|[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+(?:['’](?:(?![{_UNSPACED}])[^\W_])+)*)  # a word
    | [\n_]|[^\s\w]                                               # ends a phrase
    """,
    re.VERBOSE | re.MULTILINE,
)


def terms_of(text: str) -> set[str]:
    """The distinct terms of a text, lower-cased; a pair is of words with nothing but a space between them."""
    found: set[str] = set()
    words: list[str] = []
    for opens, mark, raw in _TOKEN.findall(text.lower()):
        word = _word(raw) if raw else ""
        words.append(word)
        found.add(word or (_opening(opens) if opens else _mark(mark)))
    found.update(f"{a} {b}" for a, b in itertools.pairwise(words) if a and b)
    found.discard("")
    return found


def _opening(mark: str) -> str:
    """`#` for a heading of any level, `-` for an item of a list, `1.` for one with a number, `---` for a rule."""
    if len(mark) > 2 and mark[0] in "-*_":
        return "---"
    if mark[0] == "#":
        return "#"
    return "1." if mark[0].isdecimal() else "-"


def _mark(mark: str) -> str:
    if mark.startswith("http"):
        return "https://"
    return "```" if mark == "~~~" else mark


@lru_cache(1 << 17)
def _word(raw: str) -> str:
    """A word as a term; empty where it is none: too long, or a number that is no year."""
    if len(raw) > LONGEST or (raw.isdecimal() and len(raw) != 4):
        return ""
    return raw.replace("’", "'")
