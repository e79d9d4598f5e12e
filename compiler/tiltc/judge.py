"""A language model that says how much an answer shows a concept: behind an endpoint, if a spec names one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.diagnostics import Diagnostics
from tiltc.endpoint import Endpoint, Refused, Unreachable, answer_file, keep_answer, kept_answer, objects, shown
from tiltc.spec import Judge
from tiltc.templating import render_template

#: environment variables with the endpoint's address and key
ADDRESS, KEY = "TILTC_JUDGE", "TILTC_JUDGE_KEY"
#: answers without a score at the start after which the others are not asked for
HOPELESS = 5


@dataclass(frozen=True)
class Verdict:
    """What a judge says of an answer: a score from 0 to 100, or that it is a refusal; or nothing usable."""

    score: float | None = None
    refusal: bool = False

    @property
    def usable(self) -> bool:
        return self.refusal or self.score is not None


def judge_all(
    judge: Judge,
    rubric: str,
    asked: Iterable[tuple[str, str]],
    cache: Path,
    say: Callable[[int], object],
    *,
    by_user: bool = False,
) -> tuple[list[Verdict] | None, Diagnostics]:
    """The verdict on each (question, answer), one after the other.

    Args:
        cache: folder of verdicts by model and prompt; what is in it is not asked again.
        say: is told how many were judged.
        by_user: `judge.endpoint` was given on the command line, not by a file.

    Findings: T546 no judge to ask, or one that gives no scores. An answer that gets none by itself is not usable.
    """
    found = Diagnostics()
    endpoint = endpoint_of(judge, by_user)
    if not endpoint.url:
        helps = [f"write `endpoint:` beside `model:`, or set {ADDRESS}"]
        found.add("T546", None, f"no endpoint is named for `{judge.model}`", helps=helps)
        return None, found
    address = shown(endpoint.url)
    verdicts: list[Verdict] = []
    for question, answer in asked:
        try:
            verdicts.append(_verdict(endpoint, rubric, question, answer, cache))
        except Unreachable as problem:
            notes = [f"{len(verdicts)} answers were judged and are not asked for again"] if verdicts else []
            found.add("T546", None, f"{address}: {problem}", notes=notes, helps=_key_withheld(endpoint))
            return None, found
        if len(verdicts) >= HOPELESS and not any(v.usable for v in verdicts):
            found.add("T546", None, f"{address}: `{judge.model}` gave no score for the first {HOPELESS} answers")
            return None, found
        say(len(verdicts))
    return verdicts, found


def endpoint_of(judge: Judge, by_user: bool = False) -> Endpoint:
    """The endpoint that a spec names, or else the environment; its address is empty where neither does.

    Only one that the user named, in the environment or on the command line, is given the key: a spec may come from anybody.
    """
    users = os.environ.get(ADDRESS, "").strip()
    address = judge.endpoint or users
    own = by_user or address.rstrip("/") == users.rstrip("/")
    return Endpoint(address, judge.model, KEY if own else "")


def _key_withheld(endpoint: Endpoint) -> list[str]:
    if endpoint.key or not os.environ.get(KEY, "").strip():
        return []
    return [
        f"the key in {KEY} goes only to an endpoint that you name: set {ADDRESS} to the same address if this one is yours"
    ]


def _verdict(endpoint: Endpoint, rubric: str, question: str, answer: str, cache: Path) -> Verdict:
    prompt = render_template("judge.txt.j2", rubric=rubric, question=question, answer=answer)
    # what a spec's own endpoint says of a model's name is kept apart from what the user's says
    file = answer_file(cache, endpoint.model, prompt, *([] if endpoint.key else [endpoint.url]))
    known = read_verdict(kept_answer(file))
    if known.usable:
        return known
    try:
        verdict = read_verdict(endpoint.ask(prompt))
    except Refused:
        return Verdict()
    if verdict.usable:
        keep_answer(file, {"score": "refusal" if verdict.refusal else verdict.score})
    return verdict


def read_verdict(answer: str) -> Verdict:
    """The `score` of the first JSON object in an answer that has a usable one, whatever is written around it."""
    verdicts = (_of(read.get("score")) for read in objects(answer))
    return next((v for v in verdicts if v.usable), Verdict())


def _of(score: Any) -> Verdict:
    if isinstance(score, str) and score.strip().lower() == "refusal":
        return Verdict(refusal=True)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 100:
        return Verdict()
    return Verdict(score=float(score))
