"""Regular expressions written by users: checked before use, and never allowed to run away."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

#: Seconds that a pattern may spend on one text.
TIMEOUT = 1.0
#: Characters that a pattern may have once its counted repeats are written out: compiling takes memory for each.
MOST_EXPANDED = 100_000
_CALL = re.compile(r"\(\?(?:R\)|&|P>|[+-]?\d)")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEAT = re.compile(r"\{(\d*)(?:,(\d*))?\}")


class PatternTimeout(Exception):
    """A pattern took longer than `seconds` on one text: it backtracks without bound."""

    def __init__(self, pattern: str, seconds: float) -> None:
        super().__init__(f"the pattern {pattern!r} takes more than {seconds:g} s on one text")
        self.pattern = pattern
        self.seconds = seconds


def check_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern, or None when it can be used."""
    import regex

    size, calls = expanded(pattern)
    if calls:
        return "it calls itself or a group of its own, and may never end"
    if size > MOST_EXPANDED:
        return f"its counted repeats make more than {MOST_EXPANDED:,} characters of it"
    try:
        readable = compiled(pattern)
    except RecursionError:
        return "it is nested too deeply"
    except (regex.error, OverflowError) as error:
        return str(error) or type(error).__name__
    try:
        empty = readable.search("", timeout=TIMEOUT / 5)
    except TimeoutError:
        return "it is not done with the empty text: it repeats what can be nothing"
    return None if empty is None else "it matches the empty text, so every text would show it"


def expanded(pattern: str) -> tuple[int, bool]:
    """About how long a pattern is once `{n}` is written out, and whether it calls a group, as `(?R)` does.

    What stands in brackets counts as one character.
    """
    sizes, last, at, calls = [0], 0, 0, False
    closes = True  # whether a bracket that opens here can be closed: else each would be looked for to the end
    while at < len(pattern):
        here = pattern[at]
        if here == "(":
            calls = calls or _CALL.match(pattern, at) is not None
            sizes.append(0)
            last = 0
        elif here == ")" and len(sizes) > 1:
            last = sizes.pop() + 1  # a group of nothing takes room as well
            sizes[-1] += last
        elif here == "{" and (repeat := _REPEAT.match(pattern, at)):
            times = max((int(n.lstrip("0")[:12] or 0) for n in repeat.groups() if n), default=1)
            sizes[-1] += last * max(times - 1, 0)
            at = repeat.end() - 1
        else:
            last = 1
            sizes[-1] += 1
            bracket = _CLASS.match(pattern, at) if here == "[" and closes else None
            closes = closes and (here != "[" or bracket is not None)
            at = bracket.end() - 1 if bracket else at + (here == "\\")
        at += 1
    return sum(sizes), calls


def pattern_counter(pattern: str) -> Callable[[str], float]:
    """A function that counts the matches of a pattern in a text; overlapping matches count once.

    Raises:
        ValueError: when `check_pattern` finds something wrong.
    """
    if message := check_pattern(pattern):
        raise ValueError(f"invalid pattern {pattern!r}: {message}")
    find = compiled(pattern).finditer

    def count(text: str) -> float:
        try:
            return sum(1.0 for _ in find(text, timeout=TIMEOUT))
        except TimeoutError:
            raise PatternTimeout(pattern, TIMEOUT) from None

    return count


@lru_cache(maxsize=512)
def compiled(pattern: str) -> regex.Pattern[str]:
    """A pattern ready for use; raises what `regex` raises."""
    import regex

    return regex.compile(pattern)
