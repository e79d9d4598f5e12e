"""Did you mean."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

#: Share of characters two words must have in common to be taken for each other.
ALIKE = 0.6


def nearest(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """The known words most like one that is not known, best first."""
    scored = sorted((-_likeness(word[:80].lower(), name.lower()), name) for name in known)
    return [name for score, name in scored if -score >= ALIKE][:most]


def any_of(words: Iterable[str]) -> str:
    """`` `a`, `b` or `c` ``."""
    quoted = [f"`{word}`" for word in words]
    return " or ".join([*([", ".join(quoted[:-1])] if quoted[1:] else []), *quoted[-1:]])


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """A help line with the nearest known words, or none."""
    near = nearest(word, known, most)
    return [f"did you mean {any_of(near)}?"] if near else []


def _likeness(word: str, name: str) -> float:
    """From 0 to 1. Of dotted names the last part counts, so that a shared prefix does not make them alike."""
    head, _, tail = word.rpartition(".")
    other_head, _, other_tail = name.rpartition(".")
    tails = SequenceMatcher(None, tail, other_tail).ratio()
    if head == other_head:
        return tails
    return 0.95 * tails if not head else min(tails, SequenceMatcher(None, word, name).ratio())
