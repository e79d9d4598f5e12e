"""Assess: rollouts and their scores in, a report and its findings out. No model is needed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_matrix

from tiltc.check.measured import SHARED_WEIGHT, overlap
from tiltc.diagnostics import Diagnostics
from tiltc.plan import Control, ForecastRow, Interval, Plan, PlanConcept
from tiltc.spec import Verify
from tiltc.stats import benjamini_hochberg, mean_effect
from tiltc_runtime.agreement import better_forecast, forecast_test, noise_ceiling
from tiltc_runtime.findings import effect_findings
from tiltc_runtime.outcome import RESAMPLES, Ends, Paired, Resampler, Shifts, Wanted, judge, rates, shifts
from tiltc_runtime.prompts import Prompt, schedule
from tiltc_runtime.report.marks import marks
from tiltc_runtime.report.model import (
    Beside,
    Better,
    CollateralRow,
    ConceptOutcome,
    Forecast,
    ForecastPoint,
    ForecastTest,
    Levels,
    Noise,
    Outside,
    PlanFacts,
    PolicyFacts,
    PolicyName,
    Report,
    Sample,
    SampleText,
    Settings,
    Shift,
)
from tiltc_runtime.rollouts import Rollout
from tiltc_runtime.scoring import Scored, measured_concepts, open_gates

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: side-by-side samples that a report shows
SAMPLES = 24
POLICIES: tuple[PolicyName, ...] = ("start", "plain", "control", "tilted")
SHIFTS: tuple[Shift, ...] = ("tilted", "plain", "difference")
#: verbs that ask for another signal than the data's
CHANGING = ("suppress", "amplify")
FORECASTS: tuple[Forecast, ...] = ("first_step", "simulated")


@dataclass(frozen=True)
class Answers:
    """One policy's rollouts in the order of `schedule`, what they score, and the identity of its weights."""

    digest: str
    rollouts: Sequence[Rollout]
    scored: Scored


@dataclass(frozen=True)
class Trial:
    """Everything that is judged: start and tilted always, plain with a baseline, control with a control run."""

    plan: Plan
    verify: Verify
    prompts: Sequence[Prompt]
    answers: Mapping[PolicyName, Answers]
    #: (prompts, F) max activations of the start policy, where a gate is a group of features
    activations: csc_matrix | None = None
    #: what the control run said in place of instructions
    controls: Sequence[Control] = ()

    @cached_property
    def prompt(self) -> npt.NDArray[np.int64]:
        return np.array([p for p, _ in schedule(len(self.prompts), self.verify.rollouts)], dtype=np.int64)

    @cached_property
    def resampler(self) -> Resampler:
        return Resampler.of(self.prompt, self.verify.seed)

    @cached_property
    def gates(self) -> dict[str, Bools]:
        """(rollouts,) on which rollouts each gate is open."""
        return {name: shut[self.prompt] for name, shut in open_gates(self.plan, self.prompts, self.activations).items()}

    @cached_property
    def concepts(self) -> dict[str, PlanConcept]:
        return {concept.name: concept for concept in measured_concepts(self.plan)}

    def used(self, row: ForecastRow) -> Bools:
        return np.ones(len(self.prompt), dtype=bool) if row.when is None else self.gates[row.when]

    def scores(self, row: ForecastRow) -> Paired | None:
        """Readouts of a row's concept, less those of what its signal tells it apart from."""
        return self._paired({p: _score(a.scored.score, row) for p, a in self.answers.items()})

    def present(self, name: str) -> Paired | None:
        return self._paired({p: a.scored.present.get(name) for p, a in self.answers.items()})

    def _paired(self, sides: dict[PolicyName, Array | None]) -> Paired | None:
        """None where a policy has no value; what the control run lacks takes nothing from the others."""
        start, tilted = sides["start"], sides["tilted"]
        if start is None or tilted is None or ("plain" in sides and sides["plain"] is None):
            return None
        return Paired(start, tilted, sides.get("plain"), sides.get("control"))


def _score(scores: Mapping[str, Array], row: ForecastRow) -> Array | None:
    """(rollouts,) None where one of the readouts is not there."""
    parts = {row.name: 1.0} | {name: -b for name, b in (row.apart.coefficients if row.apart else {}).items()}
    if not parts.keys() <= scores.keys():
        return None
    return np.sum([factor * scores[name] for name, factor in parts.items()], axis=0)


def assess(trial: Trial) -> tuple[Report, Diagnostics]:
    """Hold the rollouts against the plan."""
    concepts = tuple(c for row in trial.plan.forecast if (c := _concept(trial, row)) is not None)
    points, differences = _points(trial)
    tests = _tests(trial, points, differences)
    report = Report(
        plan=_plan_facts(trial.plan),
        settings=_settings(trial),
        policies=tuple(_policy(trial, name) for name in POLICIES if name in trial.answers),
        concepts=concepts,
        points=points,
        forecasts=tests,
        better=_better(points, trial.verify.seed) if tests else None,
        collateral=_collateral(trial),
        noise=_noise(concepts),
        samples=_samples(trial),
    )
    return effect_findings(report, _timed_out(trial))


def _concept(trial: Trial, row: ForecastRow) -> ConceptOutcome | None:
    """Levels, shifts and verdict of one declared or library concept; None when nothing reads it in a response."""
    concept = trial.concepts.get(row.name)
    # a detector sees the whole concept: what is left of it beside others has a score, and no rate
    present, scores = None if row.apart else trial.present(row.name), trial.scores(row)
    if concept is None or (present is None and scores is None):
        return None
    used = trial.used(row)
    if not used.any():
        return _never_open(row, concept)
    by_rate = shifts(present, trial.resampler, used, rate=True) if present is not None else None
    by_score = shifts(scores, trial.resampler, used) if scores is not None else None
    main = by_rate or by_score
    assert main is not None
    verdict = judge(_wanted(row), main) if row.verb else None
    return ConceptOutcome(
        name=row.name,
        about=concept.definition.about,
        kind=row.kind,
        verb=row.verb,
        when=row.when,
        apart=tuple(row.apart.coefficients) if row.apart else (),
        rollouts=int(used.sum()),
        measure="rate" if by_rate else "score",
        rates=rates(present.only(used)) if present is not None else None,
        scores=_levels(by_score) if by_score else None,
        shift_tilted=main.shift_tilted,
        shift_plain=main.shift_plain,
        difference=main.difference,
        recovery=main.recovery if row.verb == "suppress" else None,
        beside=_beside(trial, row, main),
        outside=_outside(trial, row, present, scores),
        verdict=verdict.verdict if verdict else None,
        because=verdict.because if verdict else "",
    )


def _beside(trial: Trial, row: ForecastRow, found: Shifts) -> Beside | None:
    """What the control run says of a signal that inoculates; None for others, whose mechanism the control run shares."""
    texts = tuple(c.text for c in trial.controls if c.signal == f"{row.verb}: {row.label}")
    return found.beside.model_copy(update={"texts": texts}) if found.beside is not None and texts else None


def _outside(trial: Trial, row: ForecastRow, present: Paired | None, scores: Paired | None) -> Outside | None:
    """What the policies do where no signal that changes the row's concept is open; None where one always is."""
    values = scores if present is None else present
    changing = [r for r in trial.plan.forecast if r.name == row.name and r.verb in CHANGING]
    if row.verb not in CHANGING or values is None:
        return None
    shut = ~np.any([trial.used(r) for r in changing], axis=0)
    if not shut.any():
        return None
    found = shifts(values, trial.resampler, shut, rate=present is not None)
    return Outside(
        rollouts=int(shut.sum()),
        prompts=len(np.unique(trial.prompt[shut])),
        levels=_levels(found) if present is None else rates(present.only(shut)),
        shift_tilted=found.shift_tilted,
        difference=found.difference,
        beyond=_beyond(trial, values, trial.used(row), shut, present is not None),
    )


def _beyond(trial: Trial, values: Paired, used: Bools, shut: Bools, rate: bool) -> Interval | None:
    """Mean of tilted minus plain over the used rollouts, less that over the shut ones."""
    if values.plain is None:
        return None
    made = values.tilted - values.plain
    drawn = trial.resampler.means(made, used) - trial.resampler.means(made, shut)
    fewer = min(len(np.unique(trial.prompt[side])) for side in (used, shut))
    return Ends(fewer if rate else None).difference(float(made[used].mean() - made[shut].mean()), drawn)


def _never_open(row: ForecastRow, concept: PlanConcept) -> ConceptOutcome:
    nothing = Interval(value=0.0, low=0.0, high=0.0)
    return ConceptOutcome(
        name=row.name, about=concept.definition.about, kind=row.kind, verb=row.verb, when=row.when,
        apart=tuple(row.apart.coefficients) if row.apart else (),
        rollouts=0, measure="score", shift_tilted=nothing, verdict="not measurable",
        because="no prompt expresses the gate",
    )  # fmt: skip


def _levels(found: Shifts) -> Levels:
    return Levels(start=found.start, tilted=found.tilted, plain=found.plain, control=found.control)


def _wanted(row: ForecastRow) -> Wanted:
    """Target and tolerance as shares of today's signal, which is what carries over from the first step to a rollout."""
    assert row.verb is not None
    today = row.plain.value
    share = row.target / today if row.target is not None and today else (0.0 if row.verb == "suppress" else 1.0)
    tolerance = abs(row.tolerance / today) if row.tolerance is not None and today else 0.0
    pull = -1 if today < 0 else 1
    if row.verb == "amplify" and row.target is not None and row.target != today:
        pull = 1 if row.target > today else -1
    return Wanted(row.verb, share, tolerance, pull)


def _points(trial: Trial) -> tuple[tuple[ForecastPoint, ...], dict[Shift, Array]]:
    """Forecast and realised shift per item, and the paired differences (rollouts, items) they are means of."""
    points: list[ForecastPoint] = []
    columns: dict[Shift, list[Array]] = {"tilted": [], "plain": [], "difference": []}
    for row in trial.plan.forecast:
        scores, used = trial.scores(row), trial.used(row)
        if scores is None or not used.any():
            continue
        found = shifts(scores, trial.resampler, used)
        points.append(
            ForecastPoint(
                name=row.label, kind=row.kind, verb=row.verb,
                first_step_plain=row.plain.value / row.share, first_step_tilted=row.tilted.value / row.share,
                simulated_plain=row.simulated_plain / row.share, simulated_tilted=row.simulated_tilted / row.share,
                realised_tilted=found.shift_tilted, realised_plain=found.shift_plain,
                realised_difference=found.difference,
            )
        )  # fmt: skip
        columns["tilted"].append(np.where(used, scores.tilted - scores.start, np.nan))
        if scores.plain is not None:
            columns["plain"].append(np.where(used, scores.plain - scores.start, np.nan))
            columns["difference"].append(np.where(used, scores.tilted - scores.plain, np.nan))
    return tuple(points), {shift: np.column_stack(c) for shift, c in columns.items() if c}


def _tests(trial: Trial, points: Sequence[ForecastPoint], differences: dict[Shift, Array]) -> tuple[ForecastTest, ...]:
    tests: list[ForecastTest | None] = []
    for shift in SHIFTS:
        if shift not in differences:
            continue
        ceiling = noise_ceiling(differences[shift], trial.prompt, trial.verify.seed)
        realised = tuple(r for p in points if (r := p.realised(shift)) is not None)
        for which in FORECASTS:
            foreseen = np.array([p.foreseen(which, shift) for p in points])
            tests.append(forecast_test(which, shift, foreseen, realised, ceiling, trial.verify.seed))
    return tuple(test for test in tests if test is not None)


def _better(points: Sequence[ForecastPoint], seed: int) -> Better:
    first, simulated = (np.array([p.foreseen(which, "tilted") for p in points]) for which in FORECASTS)
    return better_forecast(first, simulated, np.array([p.realised_tilted.value for p in points]), seed)


def _collateral(trial: Trial) -> tuple[CollateralRow, ...]:
    """Everything that no signal names, largest shift first."""
    rows: list[tuple[ForecastRow, Shifts, float]] = []
    for row in trial.plan.forecast:
        scores = trial.scores(row)
        if row.kind == "declared" or scores is None:
            continue
        moved = scores.tilted - (scores.start if scores.plain is None else scores.plain)
        p = mean_effect(moved, trial.prompt).p
        rows.append((row, shifts(scores, trial.resampler), p))
    q = benjamini_hochberg(np.array([p for *_, p in rows]))
    groups = {group.name: {"title": group.title, "audit": group.audit} for group in trial.plan.discovered}
    out = [
        CollateralRow(
            name=row.name, **groups.get(row.name, {}), kind=row.kind,
            shares=_shares(trial.plan, row.name), along=_along(row),
            shift=found.difference or found.shift_tilted, p=p, q=float(value),
            rates=rates(present) if (present := trial.present(row.name)) is not None else None,
        )
        for (row, found, p), value in zip(rows, q, strict=True)
    ]  # fmt: skip
    return tuple(sorted(out, key=lambda r: (-abs(r.shift.value), r.name)))


def _along(row: ForecastRow) -> float:
    return abs(row.tilted.value - row.plain.value) / abs(row.plain.value) if row.plain.value else 0.0


def _shares(plan: Plan, name: str) -> str:
    """The changed concept that is read from the same features as this one, by the rule of T302; empty without."""
    groups = {d.name: d.group for d in plan.discovered}
    groups |= {c.name: c.group for c in plan.concepts if c.group is not None and c.readout == "sae"}
    changed = [row.name for row in plan.forecast if row.verb in CHANGING and row.name in groups]
    if name not in groups:
        return ""
    return next((c for c in changed if overlap(groups[c], groups[name])[0] > SHARED_WEIGHT), "")


def _noise(concepts: Sequence[ConceptOutcome]) -> Noise:
    def median(measure: str) -> float | None:
        shown = [c.difference or c.shift_tilted for c in concepts if c.measure == measure and c.rollouts]
        widths = [(interval.high - interval.low) / 2 for interval in shown if interval.high > interval.low]
        return float(np.median(widths)) if widths else None

    return Noise(rate=median("rate"), score=median("score"))


def _samples(trial: Trial) -> tuple[Sample, ...]:
    """Rollouts to read: those where a named concept's presence differs most between the policies come first."""
    names = dict.fromkeys(row.name for row in trial.plan.forecast if row.verb)
    named = [c for name in names if (c := trial.concepts.get(name))]
    differs = np.zeros(len(trial.prompt))
    for concept in named:
        if (present := trial.present(concept.name)) is not None:
            sides = [present.start, present.tilted, *([] if present.plain is None else [present.plain])]
            differs += np.ptp(np.stack(sides), axis=0)
    # every third is taken as it comes, so that the page is not a showcase
    striking = np.argsort(-differs, kind="stable")[: SAMPLES * 2 // 3]
    rest = [k for k in range(len(trial.prompt)) if k not in set(striking.tolist())]
    return tuple(_sample(trial, named, int(k)) for k in [*striking, *rest[: SAMPLES - len(striking)]])


def _sample(trial: Trial, named: Sequence[PlanConcept], k: int) -> Sample:
    def text(policy: PolicyName) -> SampleText:
        said = trial.answers[policy].rollouts[k].text
        return SampleText(text=said, marks=marks(named, said))

    return Sample(
        prompt=trial.prompts[trial.prompt[k]].text,
        start=text("start"),
        tilted=text("tilted"),
        plain=text("plain") if "plain" in trial.answers else None,
        control=text("control") if "control" in trial.answers else None,
    )


def _plan_facts(plan: Plan) -> PlanFacts:
    return PlanFacts(
        name=plan.name,
        digest=plan.digest,
        compiler=plan.compiler,
        model=plan.pins.model.name,
        sae=plan.pins.sae.name,
        data=f"{plan.pins.data.name}, {plan.pins.data.rows:,} pairs",
        mechanisms=tuple(dict.fromkeys(f"{a.mechanism}: {a.concept}" for a in plan.actions)),
        train=plan.train.model_dump(mode="json", exclude_none=True),
    )


def _settings(trial: Trial) -> Settings:
    at = trial.verify
    return Settings(
        prompts=at.prompts if at.prompts.startswith("builtin:") else at.prompts.replace("\\", "/").rsplit("/", 1)[-1],
        prompt_count=len(np.unique(trial.prompt)),
        rollouts=at.rollouts,
        max_new_tokens=at.max_new_tokens,
        temperature=at.temperature,
        seed=at.seed,
        resamples=RESAMPLES,
    )


def _policy(trial: Trial, name: PolicyName) -> PolicyFacts:
    answers = trial.answers[name]
    return PolicyFacts(
        name=name,
        digest=answers.digest,
        rollouts=len(answers.rollouts),
        mean_tokens=float(np.mean([r.tokens for r in answers.rollouts])),
        finished=float(np.mean([r.finished for r in answers.rollouts])),
        degenerate=float(answers.scored.degenerate.mean()),
    )


def _timed_out(trial: Trial) -> tuple[str, ...]:
    return tuple(sorted({name for answers in trial.answers.values() for name in answers.scored.timed_out}))
