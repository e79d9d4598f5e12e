"""Which answers become a contrast set: the rules of the filter, and what a judge's answer is taken to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiltc.evidence.sampled import Answer, kept_examples, read_answers, write_answers
from tiltc.evidence.surviving import Opinions, survivors
from tiltc.judge import Verdict, read_verdict

#: the fewest answers of a side, as the paper has it
FEWEST = 20


def answers(*scores: float | None, label: int = 1) -> list[Answer]:
    return [Answer(label, 0, str(i), f"Q{i}?", f"text {i}", 2, True, score) for i, score in enumerate(scores)]


def both(*scores: float | None) -> list[Answer]:
    """The same scores on both sides, and enough others that both survive."""
    return [
        *answers(*scores, *[100.0] * FEWEST),
        *answers(*scores, *[0.0] * FEWEST, label=0),
    ]


def reasons(found: list[Answer], label: int) -> list[str]:
    return [a.dropped for a in found if a.label == label]


def test_scores_decide_by_side() -> None:
    """Positives are kept from 50 on, negatives up to 50; without a judge's score an answer is out."""
    found, unfiltered = survivors(both(0.0, 49.9, 50.0, 50.1, 100.0, None), Opinions(judged=True))
    assert not unfiltered
    assert reasons(found, 1)[:6] == ["judge", "judge", "", "", "", "no score"]
    assert reasons(found, 0)[:6] == ["", "", "", "judge", "judge", "no score"]


def test_without_opinions_all_texts_stay() -> None:
    """No judge and no detector: only what has no text is left out, and that is no filter."""
    given = [*both(None), replace(answers(None)[0], response=" \n")]
    found, unfiltered = survivors(given, Opinions())
    assert not unfiltered
    assert [a.dropped for a in found] == [""] * (len(given) - 1) + ["empty"]


def test_detectors_decide() -> None:
    """A refusal is out on either side; what the detector finds is out of the negatives, what it misses of the positives."""
    given = both(None, None, None)
    n = 3 + FEWEST
    refused = np.zeros(2 * n, dtype=bool)
    shows = np.array([True] * n + [False] * n)
    refused[[0, n]] = True
    shows[[1, n + 1]] = [False, True]
    found, _ = survivors(given, Opinions(refused, shows))
    assert reasons(found, 1) == reasons(found, 0) == ["refusal", "detector", *[""] * (n - 2)]


@pytest.mark.parametrize("side", [0, 1])
def test_too_few_survivors_keep_all(side: int) -> None:
    """With one too few left on a side nothing is filtered on both, but what has no text; with one more the filter holds."""
    wrong, right = (0.0, 100.0) if side else (100.0, 0.0)
    other = answers(*[100.0 - right] * (FEWEST + 1), wrong, label=1 - side)
    few = answers(*[right] * (FEWEST - 1), wrong, wrong, label=side)
    few[-1] = replace(few[-1], response="")
    found, unfiltered = survivors([*few, *other], Opinions(judged=True))
    assert unfiltered
    assert reasons(found, side) == [*[""] * FEWEST, "empty"]
    assert not any(reasons(found, 1 - side))
    found, unfiltered = survivors([*few, *answers(right, label=side), *other], Opinions(judged=True))
    assert not unfiltered
    assert reasons(found, side)[FEWEST - 1] == "judge"


def test_empty_answers_alone_are_no_filter() -> None:
    """Where a side is short of texts and nothing else was dropped, nothing was filtered."""
    found, unfiltered = survivors([replace(a, response="") for a in answers(None, None)], Opinions())
    assert not unfiltered
    assert [a.dropped for a in found] == ["empty", "empty"]


def test_answers_are_read_as_written(tmp_path: Path) -> None:
    """Line separators and emoji in a text survive the file; the set leaves the system prompt out."""
    given = [replace(answers(3.5)[0], response="a\u2028b \U0001f389"), replace(answers(None)[0], dropped="judge")]
    write_answers(tmp_path / "answers.jsonl", given)
    assert read_answers(tmp_path / "answers.jsonl") == given
    (example,) = kept_examples(given)
    assert (example.prompt, example.response, example.label, example.pair) == ("Q0?", "a\u2028b \U0001f389", 1, "0")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ('{"score": 70}', Verdict(70.0)),
        ('I think {this}: ```json\n{"score": 12.5}\n```', Verdict(12.5)),
        ('{"score": "Refusal"}', Verdict(refusal=True)),
        ('{"score": "70"}', Verdict()),
        ('{"score": true}', Verdict()),
        ('{"score": NaN}', Verdict()),
        ('{"score": -1} {"score": 4}', Verdict(4.0)),
        ("ninety", Verdict()),
        ("", Verdict()),
    ],
)
def test_verdicts(answer: str, verdict: Verdict) -> None:
    """The first usable score of an answer counts, a number from 0 to 100 or the word refusal."""
    assert read_verdict(answer) == verdict
