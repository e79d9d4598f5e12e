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
#: ... and so do indentation and quotes.
_INDENTED = re.compile(r"\n(?: {4}| *>| *(?:[-+*]|\d{1,9}[.)]) {5})")
#: An opening run before a letter or after a space, and a closing run that mirrors it.
_PAIR = re.compile(
    r"(?<!\*)(?:(?<!\S)(?=\*\*?[^\s*])|(?=\*\*?\w))(\*\*?)[^*|\n]+"
    r"(?:(?<=\w)|(?<=\S)(?=\*\*?(?:[\s.,:;!?)]|\Z)))\1(?!\*)"
)
#: Bullets, rules and products: runs between spaces emphasise nothing.
_ISOLATED = re.compile(r"(?<!\S)\*+(?!\S)")


def plain_emphasis(text: str) -> tuple[int, int] | None:
    """(bold, italic) counts of a text, or None where the text has to be parsed."""
    if _SPECIAL.search(text) or _INDENTED.search("\n" + text):
        return None
    runs = _PAIR.findall(text)
    explained = 2 * sum(map(len, runs)) + sum(map(len, _ISOLATED.findall(text)))
    if explained != text.count("*"):
        return None
    bold = runs.count("**")
    return bold, len(runs) - bold
