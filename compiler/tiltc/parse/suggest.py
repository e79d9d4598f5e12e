"""Did you mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from heapq import nlargest

#: Share of characters two words must have in common to be taken for each other.
ALIKE = 0.6
#: Known words beyond which only those of about the same length and the same first letter are looked at.
MANY = 1000
#: Words that are compared letter by letter.
COMPARED = 300


def nearest(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """The known words most like one that is not known, best first."""
    given = word[:80].lower()
    scored = sorted((-_likeness(given, name.lower()), name) for name in _worth_comparing(given, tuple(known)))
    return [name for score, name in scored if -score >= ALIKE][:most]


def any_of(words: Iterable[str]) -> str:
    """`` `a`, `b` or `c` ``."""
    quoted = [f"`{word}`" for word in words]
    return " or ".join([*([", ".join(quoted[:-1])] if quoted[1:] else []), *quoted[-1:]])


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """A help line with the nearest known words, or none."""
    near = nearest(word, known, most)
    return [f"did you mean {any_of(near)}?"] if near else []


def _worth_comparing(word: str, known: tuple[str, ...]) -> list[str]:
    """The known words that may be alike by their letters, the likeliest of them where they are very many."""
    if len(known) > MANY:
        known = tuple(name for name in known if abs(len(name) - len(word)) <= 2 and name[:1].lower() == word[:1])[:MANY]
    tail = word.rpartition(".")[2]
    letters = Counter(tail)
    bounds = [(_most_alike(letters, len(tail), name[:200].lower().rpartition(".")[2]), name) for name in known]
    likely = [(bound, name) for bound, name in bounds if bound >= ALIKE]
    return [name for _, name in (likely if len(likely) <= COMPARED else nlargest(COMPARED, likely))]


def _most_alike(letters: Counter[str], length: int, other: str) -> float:
    """No less than the likeness of two last parts: they have at most their common letters in common."""
    shared = sum(min(count, other.count(letter)) for letter, count in letters.items())
    return 2 * shared / (length + len(other)) if length + len(other) else 1.0


def _likeness(word: str, name: str) -> float:
    """From 0 to 1. Of dotted names the last part counts, so that a shared prefix does not make them alike."""
    head, _, tail = word.rpartition(".")
    other_head, _, other_tail = name.rpartition(".")
    tails = SequenceMatcher(None, tail, other_tail).ratio()
    if head == other_head:
        return tails
    return 0.95 * tails if not head else min(tails, SequenceMatcher(None, word, name).ratio())
