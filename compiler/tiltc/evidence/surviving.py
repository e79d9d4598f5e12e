"""Which of a model's answers show what their system prompt asked for (paper section 7.7, after persona vectors)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tiltc.evidence.sampled import Answer

Bools = npt.NDArray[np.bool_]

#: a judge's least score of a positive answer, its largest of a negative one, and the fewest answers of a side: the paper
#: falls back below 5, but fitting needs 10 of a class in each half
LEAST, MOST, FEWEST = 50.0, 50.0, 20


@dataclass(frozen=True)
class Opinions:
    """What is known of n answers; None where nobody was asked.

    Attributes:
        refused: (n,) it is a refusal.
        shows: (n,) a detector finds the concept.
        judged: a judge was asked: an answer without a score is dropped.
    """

    refused: Bools | None = None
    shows: Bools | None = None
    judged: bool = False


def survivors(answers: Sequence[Answer], opinions: Opinions) -> tuple[list[Answer], bool]:
    """The answers with what each was dropped for, and whether all were kept because too few survived.

    Where fewer than `FEWEST` survive on either side, nothing is dropped on both, so that the two are drawn alike; but
    what has no text can't be read and is never kept.
    """
    reasons = [_reason(answer, i, opinions) for i, answer in enumerate(answers)]
    left = [sum(not reason and a.label == side for a, reason in zip(answers, reasons, strict=True)) for side in (0, 1)]
    unfiltered = min(left) < FEWEST and any(reason not in ("", "empty") for reason in reasons)
    if unfiltered:
        reasons = ["" if answer.response.strip() else "empty" for answer in answers]
    return [replace(answer, dropped=reason) for answer, reason in zip(answers, reasons, strict=True)], unfiltered


def _reason(answer: Answer, i: int, opinions: Opinions) -> str:
    if not answer.response.strip():
        return "empty"
    if opinions.refused is not None and opinions.refused[i]:
        return "refusal"
    if opinions.shows is not None and bool(opinions.shows[i]) != bool(answer.label):
        return "detector"
    if opinions.judged and answer.score is None:
        return "no score"
    if answer.score is not None and (answer.score < LEAST if answer.label else answer.score > MOST):
        return "judge"
    return ""
