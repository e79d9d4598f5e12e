"""Regular expressions written by users: checked before use, and never allowed to run away."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

#: Seconds that a pattern may spend on one text.
TIMEOUT = 1.0


class PatternTimeout(Exception):
    """A pattern took longer than `seconds` on one text: it backtracks without bound."""

    def __init__(self, pattern: str, seconds: float) -> None:
        super().__init__(f"the pattern {pattern!r} takes more than {seconds:g} s on one text")
        self.pattern = pattern
        self.seconds = seconds


def check_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern, or None when it can be used."""
    import regex

    try:
        compiled = _compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        return str(error) or type(error).__name__
    if compiled.search("") is not None:
        return "it matches the empty text, so every text would show it"
    return None


def pattern_counter(pattern: str) -> Callable[[str], float]:
    """A function that counts the matches of a pattern in a text; overlapping matches count once.

    Raises:
        ValueError: when `check_pattern` finds something wrong.
    """
    if message := check_pattern(pattern):
        raise ValueError(f"invalid pattern {pattern!r}: {message}")
    find = _compile(pattern).finditer

    def count(text: str) -> float:
        try:
            return sum(1.0 for _ in find(text, timeout=TIMEOUT))
        except TimeoutError:
            raise PatternTimeout(pattern, TIMEOUT) from None

    return count


@lru_cache(maxsize=512)
def _compile(pattern: str) -> regex.Pattern[str]:
    import regex

    return regex.compile(pattern)
