"""Contrast sets that are sampled: the starting model's own answers under contrasted system prompts.

In an evidence folder, written by `tiltc_runtime.sampled`, readable without torch:

    sampled/<key>/answers.jsonl   one `Answer` a line, those that were left out and why among them
    sampled/<key>/manifest.json   `SampledManifest`

`key` is that of the `Recipe`: all that the answers follow from beside model, template and dtype, which the evidence
folder pins. The answers that were kept are a contrast set like any other, in `contrast/<digest of its rows>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tiltc.canonical import canonical_json, sha256_text
from tiltc.evidence.examples import Example
from tiltc.evidence.layout import Frozen
from tiltc.questions import is_builtin, read_questions
from tiltc.spec import Concept

if TYPE_CHECKING:
    from tiltc.parse import Definition

FOLDER: Final = "sampled"
ANSWERS: Final = "answers.jsonl"
#: Version of the recipe: raised when the same words would come to mean other answers.
VERSION: Final = 1
REFUSAL: Final = "std.safety.refusal"


class Recipe(Frozen):
    """What a sampled contrast set follows from. Detectors and questions of the user's go by the sha256 of what they say."""

    version: Literal[1] = VERSION
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    #: name of a builtin set, or the sha256 of the questions
    questions: str
    temperature: float
    max_new_tokens: int
    seed: int
    refusal: str | None = None
    kept_by: str | None = None
    judge: str | None = None
    rubric: str | None = None

    @property
    def key(self) -> str:
        return sha256_text(canonical_json(self))


class SampledManifest(Frozen):
    """`manifest.json` of a sampled set."""

    recipe: Recipe
    #: digest of the weights, sha256 of the chat template's text
    model: str
    template: str
    dtype: str
    answers: int
    #: answers kept on each side
    positives: int
    negatives: int
    #: fewer survived than a set needs, so that all were kept
    unfiltered: bool
    #: digest of the kept rows: the set's folder under `contrast/`
    contrast: str
    files: dict[str, str]
    digest: str


@dataclass(frozen=True)
class Answer:
    """One answer. `label` is 1 under a positive system prompt, `system` its number; `pair` is shared by all answers to
    a question. `score` is the judge's. `dropped` says why it was left out, and is empty where it was kept."""

    label: int
    system: int
    pair: str
    prompt: str
    response: str
    tokens: int
    finished: bool
    score: float | None = None
    dropped: str = ""


def recipe_of(definition: Definition) -> Recipe:
    """The recipe of a `contrast` concept as it is written now.

    Raises:
        ValueError: the file of questions can't be read; `read_questions` says why.
    """
    from tiltc.parse.standard import standard_library

    concept = definition.concept
    asked, judge = concept.contrast, concept.contrast.judge if concept.contrast else None
    assert asked is not None, "only concepts defined by a contrast have a recipe"
    return Recipe(
        positive=asked.positive,
        negative=asked.negative,
        questions=asked.questions if is_builtin(asked.questions) else _contents(definition.path(asked.questions)),
        temperature=asked.temperature,
        max_new_tokens=asked.max_new_tokens,
        seed=asked.seed,
        refusal=_meaning(standard_library()[REFUSAL].concept) if asked.drop_refusals else None,
        kept_by=_meaning(definition.kept_by) if definition.kept_by else None,
        judge=judge.model if judge else None,
        rubric=(judge.rubric or concept.about) if judge else None,
    )


def _contents(file: Path) -> str:
    questions, found = read_questions(file)
    if questions is None:
        raise ValueError("; ".join(d.primary.text for d in found))
    return sha256_text(canonical_json(list(questions)))


def _meaning(concept: Concept) -> str:
    return sha256_text(canonical_json(concept.meaning))


def kept_examples(answers: Iterable[Answer]) -> list[Example]:
    """The contrast set: a question and an answer, without the system prompt that it was given under."""
    return [Example(a.prompt, a.response, a.label, a.pair) for a in answers if not a.dropped]


def write_answers(file: Path, answers: Iterable[Answer]) -> None:
    lines = (json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)
    file.write_text("".join(lines), encoding="utf-8", newline="\n")


def read_answers(file: Path) -> list[Answer]:
    # not splitlines(): JSON strings may hold U+2028 and the like as they are
    return [Answer(**json.loads(line)) for line in file.read_text(encoding="utf-8").split("\n") if line]
