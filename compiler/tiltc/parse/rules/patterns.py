"""Regular expressions: those that can't be read, those that can run away, and those there is no time to try."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from tiltc.detectors.patterns import check_pattern, compiled, expanded
from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import SpecFile

#: Seconds a pattern may spend on a probe. A sound pattern needs a hundredth of it.
SLOWEST = 0.1
#: Characters of a probe. Time that grows with the square of the length passes, with the cube it does not.
LENGTH = 1000
#: Processor seconds for the probes of all patterns of a spec.
BUDGET = 0.6
#: Characters of all patterns of a spec together, counted repeats written out: each takes time to compile.
MOST_TOGETHER = 200_000
#: What responses repeat, beside the pattern's own characters and words.
_COMMON = ("a", " ", "1", "-", "*", "#", ".", "\n", "a ", "ab")
#: A pattern without any of these is plain text ...
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]()|]")
#: ... and one with fewer than two of these has no two repeats to share characters between them.
_REPEATS = re.compile(r"[*+?{]")


def unsound_patterns(file: SpecFile) -> Iterator[Diagnostic]:
    """A pattern that does not compile or matches everything; one that a repetitive text keeps busy; too many to tell."""
    tries = _Tries()
    size, told = 0, False
    for name, pattern in _patterns(file):
        size += min(expanded(pattern)[0], MOST_TOGETHER)
        at = file.definition_at(name, "pattern")
        if size > MOST_TOGETHER:
            text = f"the patterns up to this one make more than {MOST_TOGETHER:,} characters"
            yield Diagnostic("T140", Label(at, text), helps=("write plain ones as `words:`",))
            return
        if message := check_pattern(pattern):
            yield Diagnostic("T140", Label(at, message))
        elif (repeated := tries.runs_away(pattern)) is not None:
            note = f"more than {SLOWEST:g} s on {LENGTH:,} characters that repeat {repeated!r}"
            label = Label(at, "this can run for hours on one response")
            yield Diagnostic("T141", label, notes=(note,), helps=("take out one of two nested or adjacent repeats",))
        elif tries.untried and not tries.found and not told:
            told = True
            helps = ("make the patterns simpler", "write plain ones as `words:`")
            yield Diagnostic("T118", Label(at, f"this and what follows is untried after {BUDGET:g} s"), helps=helps)


class _Tries:
    """Probes of patterns, until their time is up."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.untried = 0
        self.found = 0

    @property
    def over(self) -> bool:
        return self.spent >= BUDGET

    def runs_away(self, pattern: str) -> str | None:
        if len(_REPEATS.findall(pattern)) < 2:
            return None
        start = time.process_time()
        repeated = None if self.over else runs_away(pattern, BUDGET - self.spent)
        self.spent += time.process_time() - start
        self.found += repeated is not None
        self.untried += self.over and repeated is None
        return repeated


def runs_away(pattern: str, seconds: float = 60.0) -> str | None:
    """What a text repeats when the pattern does not get done with it, or None when it is done with every probe.

    Args:
        seconds: processor time after which no further probe is made.
    """
    start = time.process_time()
    for repeated, text in probes(pattern):
        # a second try, so that a busy machine is not mistaken for a bad pattern
        if _too_slow(pattern, text) and _too_slow(pattern, text):
            return repeated
        if time.process_time() - start > seconds:
            return None
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
    try:
        for _ in compiled(pattern).finditer(text, timeout=SLOWEST):
            pass
    except TimeoutError:
        return True
    return False


def _patterns(file: SpecFile) -> Iterator[tuple[str, str]]:
    """Patterns that are more than plain text."""
    for name, definition in file.library.items():
        pattern = definition.concept.pattern
        if definition.own and pattern and _SPECIAL.search(pattern):
            yield name, pattern
