"""Word lists: whole words and phrases, in any case, with either apostrophe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'"})


def lexicon_counter(words: Iterable[str]) -> Callable[[str], float]:
    """A function that counts the entries of a lexicon in a text. The longest entry wins where several start.

    An entry matches between characters that are no letter or digit, and a space in it matches any white space.
    """
    entries = frozenset(normalise(word) for word in words) - {""}
    if not entries:
        return lambda text: 0.0
    find = _compile(entries).finditer

    def count(text: str) -> float:
        plain = normalise(text)
        # plain substring search is far cheaper than the alternation, and most texts hold no entry
        if not any(entry in plain for entry in entries):
            return 0.0
        return sum(1.0 for _ in find(plain))

    return count


def normalise(text: str) -> str:
    """Lower case, straight apostrophes, single spaces."""
    return " ".join(text.lower().translate(_APOSTROPHES).split())


@lru_cache(maxsize=512)
def _compile(entries: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(entries, key=lambda entry: (-len(entry), entry))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest_first))})(?![^\W_])")
