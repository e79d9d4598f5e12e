"""Where named concepts show in a text, for readers. What counts is decided by `tiltc.detectors`, never here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from tiltc import detectors
from tiltc.plan import PlanConcept
from tiltc.spec import Concept
from tiltc_runtime.report.model import Mark

if TYPE_CHECKING:
    import regex

TIMEOUT = 0.5
#: the part of a construct that is worth a reader's eye; surfaces that are not here are counted but not marked
SURFACES = {
    "bold": r"\*\*(?=\S).+?(?<=\S)\*\*|__(?=\S).+?(?<=\S)__",
    "italic": r"(?<![*\w])\*(?=[^\s*])[^*\n]+(?<=\S)\*(?!\*)|(?<!\w)_(?=[^\s_])[^_\n]+(?<=\S)_(?!\w)",
    "heading": r"(?m)^ {0,3}#{1,6}\s.*$",
    "list": r"(?m)^[ \t>]*(?:[-+*•●▪◦‣]|\d{1,9}[.)])(?=\s)",
    "code": r"```.*?(?:```|\Z)|`[^`\n]+`",
    "link": r"\[[^\]\n]+\]\([^)\n]+\)",
    "horizontal-rule": r"(?m)^ {0,3}(?:-{3,}|\*{3,}|_{3,})\s*$",
    "emoji": r"[\U0001F1E6-\U0001F1FF]{2}|\p{Emoji_Presentation}|\p{Extended_Pictographic}\uFE0F",
    "em-dash": "—",
    "exclamation": "[!！]",
    "question": "[?？]",
    "quote": r"(?m)^ {0,3}>.*$",
    "bare-url": r"(?:https?://|www\.)\S+",
    "table": r"(?m)^.*\|.*$",
}


def marks(concepts: Sequence[PlanConcept], text: str) -> tuple[Mark, ...]:
    """Marks in the order of the text, none inside another, for the concepts that the detector finds present."""
    found = sorted(mark for concept in concepts for mark in _of(concept, text))
    out: list[Mark] = []
    for start, end, name in found:
        if not out or start >= out[-1].end:
            out.append(Mark(start=start, end=end, concept=name))
    return tuple(out)


def _of(concept: PlanConcept, text: str) -> Iterator[tuple[int, int, str]]:
    pattern = _pattern(concept.definition)
    if pattern is None:
        return
    try:
        if not detectors.present(concept.definition, [text])[0]:
            return
        for match in _compile(pattern).finditer(text, timeout=TIMEOUT):
            if match.end() > match.start():
                yield match.start(), match.end(), concept.name
    except (detectors.PatternTimeout, TimeoutError):
        return


def _pattern(concept: Concept) -> str | None:
    if concept.pattern is not None:
        return concept.pattern
    if concept.words is not None:
        return _lexicon(concept.words)
    return SURFACES.get(concept.surface or "")


def _lexicon(words: Sequence[str]) -> str:
    import regex

    longest_first = sorted((word.split() for word in words if word.strip()), key=lambda w: -len(" ".join(w)))
    entries = (r"\s+".join(regex.escape(part).replace("'", "['’‘ʼ]") for part in word) for word in longest_first)
    return rf"(?i)(?<![^\W_])(?:{'|'.join(entries)})(?![^\W_])"


@lru_cache(maxsize=256)
def _compile(pattern: str) -> regex.Pattern[str]:
    import regex

    return regex.compile(pattern)
