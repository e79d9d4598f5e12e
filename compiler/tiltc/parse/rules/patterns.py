"""Regular expressions: those that can't be read, and those that can run away."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tiltc.detectors.patterns import check_pattern
from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import SpecFile

#: Seconds a pattern may spend on a probe. A sound pattern needs a thousandth of it.
SLOWEST = 0.2
#: Characters of a probe. Time that grows with the square of the length passes, with the cube it does not.
LENGTH = 1000
#: What responses repeat, beside the pattern's own characters and words.
_COMMON = ("a", " ", "1", "-", "*", "#", ".", "\n", "a ", "ab")


def invalid_patterns(file: SpecFile) -> Iterator[Diagnostic]:
    """A pattern that does not compile or matches everything."""
    for name, pattern in _patterns(file):
        if message := check_pattern(pattern):
            yield Diagnostic("T140", Label(file.definition_at(name, "pattern"), message))


def backtracking_patterns(file: SpecFile) -> Iterator[Diagnostic]:
    """A pattern that a repetitive text keeps busy."""
    for name, pattern in _patterns(file):
        if check_pattern(pattern) is None and (repeated := runs_away(pattern)) is not None:
            note = f"more than {SLOWEST:g} s on {LENGTH:,} characters that repeat {repeated!r}"
            label = Label(file.definition_at(name, "pattern"), "this can run for hours on one response")
            yield Diagnostic("T141", label, notes=(note,), helps=("take out one of two nested or adjacent repeats",))


def runs_away(pattern: str) -> str | None:
    """What a text repeats when the pattern does not get done with it, or None when it is done with every probe."""
    for repeated, text in probes(pattern):
        # a second try, so that a busy machine is not mistaken for a bad pattern
        if _too_slow(pattern, text) and _too_slow(pattern, text):
            return repeated
    return None


def probes(pattern: str) -> Iterator[tuple[str, str]]:
    """Texts that repeat one thing and then break off, made of common characters and the pattern's own."""
    own = "".join(dict.fromkeys(pattern))[:60]
    words = list(dict.fromkeys(re.findall(r"[^\W\d_]{2,} ?", pattern)))
    for unit in filter(None, dict.fromkeys([*_COMMON, *own[:24], *words[:12], "".join(words[:4])])):
        run = unit * (LENGTH // len(unit))
        # a search for text that must occur ends at once when it does not, so the break is followed by all of it
        yield unit, run + "\x01"
        yield unit, own + run + "\x01" + own


def _too_slow(pattern: str, text: str) -> bool:
    import regex

    try:
        for _ in regex.compile(pattern).finditer(text, timeout=SLOWEST):
            pass
    except TimeoutError:
        return True
    return False


def _patterns(file: SpecFile) -> Iterator[tuple[str, str]]:
    for name, definition in file.library.items():
        if definition.own and definition.concept.pattern:
            yield name, definition.concept.pattern
