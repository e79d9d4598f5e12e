"""Detectors: count how often a text shows a concept, without a model.

Three kinds of definition have one: `pattern` (regex), `words` (lexicon) and `surface` (Markdown, glyphs, length).
Nothing heavy is imported until a text is scored, so that linting stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tiltc.detectors.patterns import PatternTimeout, check_pattern

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tiltc.spec import Concept

__all__ = ["PatternTimeout", "check_pattern", "has_detector", "present", "score", "shows"]

#: Count of matches in one text.
Counter = Callable[[str], float]


def has_detector(concept: Concept) -> bool:
    """True when the concept can be scored from text alone."""
    return concept.kind in ("pattern", "words", "surface")


def score(concept: Concept, texts: Sequence[str]) -> NDArray[np.float64]:
    """Number of matches in each text, shape (n,); log(1 + words) for `surface: length`.

    Raises:
        TypeError: a text is not a string.
        ValueError: the definition has no detector, or its pattern is invalid.
        PatternTimeout: the pattern takes longer than `patterns.TIMEOUT` seconds on one text.
    """
    import numpy as np

    count = _counter(concept)
    return np.fromiter((count(_checked(text)) for text in texts), dtype=np.float64, count=len(texts))


def present(concept: Concept, texts: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each text has at least `concept.at_least` matches (`surface: length`: words), shape (n,).

    Raises as `score` does.
    """
    return score(concept, texts) >= _least(concept)


def shows(concept: Concept, text: str) -> bool:
    """`present` of one text; needs no numpy, so that a lint-only install has it. Raises as `score` does."""
    return _counter(concept)(_checked(text)) >= _least(concept)


def _least(concept: Concept) -> float:
    import math

    return math.log1p(concept.at_least) if concept.surface == "length" else concept.at_least


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a text to score must be a string, not {type(text).__name__}")
    return text


def _counter(concept: Concept) -> Counter:
    if concept.pattern is not None:
        from tiltc.detectors.patterns import pattern_counter

        return pattern_counter(concept.pattern)
    if concept.words is not None:
        from tiltc.detectors.lexicon import lexicon_counter

        return lexicon_counter(concept.words)
    if concept.surface is not None:
        from tiltc.detectors.surface import COUNTERS

        return COUNTERS[concept.surface]
    raise ValueError(f"a concept defined by `{concept.kind}` has no detector")
