"""Concepts by contrast: the starting model answers under contrasted system prompts, and its answers become a contrast set.

The recipe of persona vectors (paper section 7.7). Answers are kept in `<store>/rollouts`, one file a system prompt, and
what a judge says in `<store>/judged`, so that a killed harvest goes on where it was and a changed filter samples nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tiltc import detectors
from tiltc.canonical import canonical_json, digest
from tiltc.diagnostics import Span
from tiltc.evidence import Answer, Example, Recipe, SampledManifest, examples_digest, recipe_of
from tiltc.evidence.sampled import ANSWERS, FOLDER, REFUSAL, kept_examples, read_answers, write_answers
from tiltc.evidence.surviving import FEWEST, Opinions, survivors
from tiltc.files import write_whole
from tiltc.judge import judge_all
from tiltc.parse import Definition, SpecFile
from tiltc.parse.standard import standard_library
from tiltc.questions import is_builtin, read_questions
from tiltc.source import COMMAND_LINE
from tiltc.spec import Contrast, Verify
from tiltc_runtime.disk import hashes
from tiltc_runtime.inputs import Inputs, placed
from tiltc_runtime.loading import LoadedModel
from tiltc_runtime.prompts import Prompt, read_prompts, under_system
from tiltc_runtime.refused import Refused, refuse
from tiltc_runtime.rollouts import Policy, Rollout, rollouts_key, sample

Say = Callable[[str], None]


def sampled_sets(inputs: Inputs, spec_file: SpecFile, folder: Path, say: Say) -> tuple[dict[str, list[Example]], bool]:
    """Sample what the evidence folder lacks of the sets of `contrast` concepts within reach of the spec.

    Returns:
        The contrast sets by digest, and whether anything was sampled.

    Raises:
        Refused: T546, T547, at their places in the spec.
    """
    sets: dict[str, list[Example]] = {}
    did = False
    whole = _Whole(inputs)
    policy = Policy("start", inputs.model.digest, inputs.settings, lambda: (whole.loaded.model, whole.loaded.tokenizer))
    for name, definition in sorted(spec_file.reached().items()):
        contrast = definition.concept.contrast
        if contrast is None or definition.concept.reads != "response":
            continue
        questions = _questions(definition, contrast, spec_file.definition_at(name, "contrast", "questions"))
        recipe = recipe_of(definition)
        place = folder / FOLDER / recipe.key
        if not place.is_dir():
            told = _Told(name, say)
            with placed(spec_file.definition_at(name, "contrast")):
                made = _Sampling(
                    inputs, definition, contrast, questions, folder.parent, told, _by_user(spec_file, name)
                )
                made.write(place, recipe, policy)
            did = True
        examples = kept_examples(read_answers(place / ANSWERS))
        sets[examples_digest(examples)] = examples
    return sets, did


@dataclass(frozen=True)
class _Whole:
    """The starting model with its head, loaded when the first answer is missing and let go with the last set."""

    inputs: Inputs

    @cached_property
    def loaded(self) -> LoadedModel:
        return self.inputs.load_whole()


@dataclass(frozen=True)
class _Told:
    """Says how far the work on one concept is."""

    name: str
    say: Say

    def __call__(self, text: str) -> None:
        self.say(f"`{self.name}`: {text}")


def _by_user(spec_file: SpecFile, name: str) -> bool:
    """Was the address of a concept's judge given on the command line?"""
    at = spec_file.definition_at(name, "contrast", "judge", "endpoint")
    return at is not None and at.path.startswith(COMMAND_LINE)


def _questions(definition: Definition, contrast: Contrast, at: Span | None) -> tuple[str, ...]:
    if is_builtin(contrast.questions):
        prompts, found = read_prompts(contrast.questions)
        questions = tuple(prompt.text for prompt in prompts or ())
    else:
        questions, found = read_questions(definition.path(contrast.questions), at)
    if found.failed or questions is None:
        raise Refused(found)
    return questions


@dataclass(frozen=True)
class _Sampling:
    """One set in the making."""

    inputs: Inputs
    definition: Definition
    contrast: Contrast
    questions: tuple[str, ...]
    store: Path
    say: Say
    #: the judge's address comes from the command line
    by_user: bool = False

    def write(self, place: Path, recipe: Recipe, policy: Policy) -> None:
        """Sample, filter, and make the set's folder appear."""
        if self.contrast.judge is not None:
            # a judge that nobody named should not cost the sampling
            self._judged([], Opinions(), recipe.rubric or "")
        answers = [answer for side in (1, 0) for answer in self._side(side, policy)]
        opinions = self._detected(answers)
        if self.contrast.judge is not None:
            answers, opinions = self._judged(answers, opinions, recipe.rubric or "")
        answers, unfiltered = survivors(answers, opinions)
        self.say(_summary(answers, unfiltered))
        examples = kept_examples(answers)
        positives = sum(e.label for e in examples)
        if not 0 < positives < len(examples):
            side = "positive" if positives == 0 else "negative"
            refuse("T547", f"no answer under the {side} system prompts of `{self.definition.name}` has any text")
        manifest = SampledManifest(
            recipe=recipe,
            model=self.inputs.model.digest,
            template=self.inputs.template,
            dtype=self.inputs.dtype,
            answers=len(answers),
            positives=positives,
            negatives=len(examples) - positives,
            unfiltered=unfiltered,
            contrast=examples_digest(examples),
            files={},
            digest="",
        )
        write_whole(place, lambda work: _fill(work, answers, manifest))

    def _side(self, label: int, policy: Policy) -> Iterator[Answer]:
        """The answers of one side, system prompt by system prompt, in the order of the questions."""
        systems = self.contrast.positive if label else self.contrast.negative
        plain = [Prompt(({"role": "user", "content": question},)) for question in self.questions]
        for number, system in enumerate(systems):
            what = f"{'positive' if label else 'negative'} prompt {number + 1} of {len(systems)}"
            for prompt, rollout in zip(plain, self._sampled(system, what, policy), strict=True):
                yield Answer(label, number, prompt.key, prompt.text, rollout.text, rollout.tokens, rollout.finished)

    def _sampled(self, system: str, what: str, policy: Policy) -> list[Rollout]:
        asked = self.inputs.form.asked
        prompts = [asked(under_system(self.inputs.tokenizer, system, question)) for question in self.questions]
        settings = Verify(
            rollouts=max(len(prompts), 2),
            max_new_tokens=self.contrast.max_new_tokens,
            temperature=self.contrast.temperature,
            seed=self.contrast.seed,
        )
        key = rollouts_key(policy, prompts, settings, self.inputs.dtype)
        file = self.store / "rollouts" / f"{key}.jsonl"
        sampled = sample(policy, prompts, settings, file, lambda k, n: self.say(f"{what}, {k} of {n} answers"))
        if sampled.broken:
            self.say(f"{what}, {sampled.broken} kept answers were not as written and count as missing")
        return sampled.rollouts[: len(prompts)]

    def _detected(self, answers: Sequence[Answer]) -> Opinions:
        texts = [answer.response for answer in answers]
        refusal = standard_library()[REFUSAL].concept if self.contrast.drop_refusals else None
        keeper = self.definition.kept_by
        try:
            return Opinions(
                refused=detectors.present(refusal, texts) if refusal else None,
                shows=detectors.present(keeper, texts) if keeper else None,
            )
        except detectors.PatternTimeout as slow:
            refuse("T547", f"`{self.contrast.kept_by}` ran for more than {slow.seconds:g} s on one answer")

    def _judged(self, answers: Sequence[Answer], opinions: Opinions, rubric: str) -> tuple[list[Answer], Opinions]:
        """The answers with the judge's scores; those that detectors drop anyway are not asked about."""
        assert self.contrast.judge is not None
        left, _ = survivors(answers, opinions)
        open_ = [i for i, answer in enumerate(left) if not answer.dropped]
        verdicts, found = judge_all(
            self.contrast.judge,
            rubric,
            [(answers[i].prompt, answers[i].response) for i in open_],
            self.store / "judged",
            lambda k: self.say(f"{k} of {len(open_)} answers judged") if k % 25 == 0 or k == len(open_) else None,
            by_user=self.by_user,
        )
        if verdicts is None:
            raise Refused(found)
        refused = np.zeros(len(answers), dtype=bool) if opinions.refused is None else opinions.refused.copy()
        scored = list(answers)
        for i, verdict in zip(open_, verdicts, strict=True):
            refused[i] |= verdict.refusal
            scored[i] = replace(answers[i], score=verdict.score)
        return scored, replace(opinions, refused=refused, judged=True)


def _summary(answers: Sequence[Answer], unfiltered: bool) -> str:
    """How many answers were kept on each side, and why the others were not."""
    sides = [(side, [a for a in answers if a.label == label]) for label, side in ((1, "positive"), (0, "negative"))]
    kept = " and ".join(f"{sum(not a.dropped for a in of)} of {len(of)} {side}" for side, of in sides)
    why = ", ".join(f"{n} {reason}" for reason, n in sorted(Counter(a.dropped for a in answers if a.dropped).items()))
    all_kept = f"; fewer than {FEWEST} of a side would be left by the filter, so it was not used" if unfiltered else ""
    return f"{kept} answers kept{f'; left out: {why}' if why else ''}{all_kept}"


def _fill(folder: Path, answers: Sequence[Answer], manifest: SampledManifest) -> None:
    write_answers(folder / ANSWERS, answers)
    manifest = manifest.model_copy(update={"files": hashes(folder)})
    manifest = manifest.model_copy(update={"digest": digest(manifest)})
    (folder / "manifest.json").write_text(canonical_json(manifest), encoding="utf-8")
