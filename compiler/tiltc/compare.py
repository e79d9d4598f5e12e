"""Every admissible mechanism for a signal, side by side: what it reaches, what it drags along, what it costs.

Each candidate is a whole compile of the spec with that one signal carried out in another way; all else stays as written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from tiltc.check.methods import admissible
from tiltc.diagnostics import Severity
from tiltc.figures import NONE, count, interval, share, signed
from tiltc.pipeline import compile_spec
from tiltc.plan import Built, Interval
from tiltc.show import DEFINED, collateral, defined, met, moved
from tiltc.spec import Amplify, Form, Keep, Signal, Suppress, Target

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.lower import Compiled
    from tiltc.parse import SpecFile
    from tiltc.plan import Plan

#: mechanisms of the language, in the order of the table, and the forms that they have
CANDIDATES: tuple[tuple[Built, Form | None], ...] = (
    ("filter", None),
    ("tokens", None),
    ("reweight", None),
    ("reward", None),
    ("steer", "residual"),
    ("steer", "forward"),
    ("inoculate", "residual"),
    ("inoculate", "forward"),
)
#: options of a signal that belong to one mechanism and mean nothing to the others
OPTIONS = ("offset", "unit", "form", "size", "side", "fraction", "control", "strength", "by")
#: parts of the way to a target that are shown
WAYS = (0.25, 0.5, 0.75, 1.0)


class Candidate(BaseModel):
    """One way of carrying a signal out.

    Attributes:
        refused: codes of the errors that it compiles to; all figures are None then.
        meets: whether the signal's first step is within its tolerance.
        first_step: g with the plan, sd of gap.
        defined: share of today's first step that is left by the concept's own detector, where it is read by something else.
        simulated: mean shift after simulated training, sd of score.
        spill: root mean square of the change of g over all that no signal names, sd of gap.
        furthest: which of these moves furthest.
    """

    mechanism: Built
    form: Form | None = None
    chosen: bool = False
    refused: tuple[str, ...] = ()
    meets: bool | None = None
    first_step: Interval | None = None
    defined: float | None = None
    simulated: float | None = None
    spill: float | None = None
    furthest: str | None = None
    rows_touched: int | None = None
    rows_dropped: int | None = None
    effective_sample: float | None = None


class Step(BaseModel):
    """A part of the way to a signal's target: what it takes, and what it drags along.

    Attributes:
        way: share of the way from today's first step to the target.
        strength: tilt coefficient in logits per sd of gap, rows touched for what has no strength; None where refused.
    """

    way: float
    refused: tuple[str, ...] = ()
    strength: float | None = None
    first_step: Interval | None = None
    simulated: float | None = None
    spill: float | None = None
    effective_sample: float | None = None


class Comparison(BaseModel):
    """A signal, what the data teaches of it today, its candidates, and the way to its target by the one that was chosen."""

    signal: str
    first_step: Interval
    simulated: float
    target: float
    candidates: tuple[Candidate, ...]
    frontier: tuple[Step, ...] = ()


def compare(spec_file: SpecFile, evidence: Evidence, cache: Path | None = None) -> tuple[Comparison, ...]:
    """Compile every signal that asks for a change in every way that its training method has a place for.

    The spec must compile as it is written: only then is there something to compare with.
    """
    today, _ = compile_spec(spec_file, evidence, cache)
    if today is None:
        return ()
    return tuple(
        _comparison(spec_file, evidence, cache, today.plan, i)
        for i, signal in enumerate(spec_file.spec.signals)
        if not isinstance(signal, Keep)
    )


def _comparison(spec_file: SpecFile, evidence: Evidence, cache: Path | None, today: Plan, index: int) -> Comparison:
    signal = spec_file.spec.signals[index]
    row = today.forecast[index]
    label = f"{signal.verb}: {row.label}"
    used = {a.mechanism for a in today.actions if a.signal == label}
    form = _form(signal)
    candidates = tuple(
        _candidate(spec_file, evidence, cache, index, mechanism, f).model_copy(
            update={"chosen": mechanism in used and f in (None, form)}
        )
        for mechanism, f in _candidates(spec_file, signal)
    )
    assert row.target is not None, "a signal's row has a target"
    frontier = tuple(_step(spec_file, evidence, cache, index, today, way) for way in WAYS)
    return Comparison(
        signal=label,
        first_step=row.plain,
        simulated=row.simulated_plain,
        target=row.target,
        candidates=candidates,
        frontier=frontier,
    )


def _step(spec_file: SpecFile, evidence: Evidence, cache: Path | None, index: int, today: Plan, way: float) -> Step:
    """The plan for a part of the way, by the mechanism that the whole way takes."""
    signal, row = spec_file.spec.signals[index], today.forecast[index]
    label = f"{signal.verb}: {row.label}"
    used = next((a.mechanism for a in today.actions if a.signal == label), None)
    changes: dict[str, Any] = {"to": _part(signal, row.plain.value, way)}
    if getattr(signal, "with_", None) == "auto" and used is not None:
        changes["with_"] = used
    compiled, codes = _compiled(spec_file, evidence, cache, index, signal.model_copy(update=changes))
    if compiled is None:
        return Step(way=way, refused=codes)
    plan = compiled.plan
    strength = next((a.strength for a in plan.actions if a.signal == label), 0.0)
    reached = plan.forecast[index]
    return Step(
        way=way,
        strength=strength,
        first_step=reached.tilted,
        simulated=reached.simulated_tilted,
        spill=_spill(plan),
        effective_sample=plan.spend.effective_sample,
    )


def _part(signal: Signal, today: float, way: float) -> float | Target:
    """The `to:` that is this part of the way from today to what the signal asks for."""
    if isinstance(signal, Suppress):
        return 1 - way * (1 - signal.to)
    assert isinstance(signal, Amplify)
    if signal.to.sd is not None:
        return Target(sd=today + way * (signal.to.sd - today))
    return Target(times=1 + way * ((signal.to.times or 0.0) - 1))


def _form(signal: Signal) -> Form:
    return getattr(signal, "form", None) or "residual"


def _candidates(spec_file: SpecFile, signal: Signal) -> Iterator[tuple[Built, Form | None]]:
    train = spec_file.spec.train
    fitting = admissible(train.method, train.loss)
    blocking = {("filter", None), ("tokens", None), ("inoculate", "forward")}
    for candidate in CANDIDATES:
        if candidate[0] in fitting and not (isinstance(signal, Amplify) and candidate in blocking):
            yield candidate


def _candidate(
    spec_file: SpecFile, evidence: Evidence, cache: Path | None, index: int, mechanism: Built, form: Form | None
) -> Candidate:
    signal = spec_file.spec.signals[index]
    same = getattr(signal, "with_", None) == mechanism and (form is None or _form(signal) == form)
    # what steers, and how far, is the same in both forms: harvest has read the likelihoods of that and of nothing else
    kept = ("by", "size") if mechanism == "steer" else ()
    cleared = {} if same else dict.fromkeys(o for o in OPTIONS if o not in kept)
    asked = signal.model_copy(update={**cleared, "with_": mechanism, "form": form})
    compiled, codes = _compiled(spec_file, evidence, cache, index, asked)
    if compiled is None:
        return Candidate(mechanism=mechanism, form=form, refused=codes)
    plan, row = compiled.plan, compiled.plan.forecast[index]
    others = collateral(plan.forecast)
    label = f"{signal.verb}: {row.label}"
    touched = [a.rows_touched for a in plan.actions if (a.mechanism, a.signal) == (mechanism, label)]
    return Candidate(
        mechanism=mechanism,
        form=form,
        meets=met(row),
        first_step=row.tilted,
        defined=defined(row),
        simulated=row.simulated_tilted,
        spill=_spill(plan),
        furthest=others[0].name if others else None,
        rows_touched=max(touched, default=0),
        rows_dropped=plan.spend.rows - plan.spend.unusable - plan.spend.kept,
        effective_sample=plan.spend.effective_sample,
    )


def _compiled(
    spec_file: SpecFile, evidence: Evidence, cache: Path | None, index: int, asked: Signal
) -> tuple[Compiled | None, tuple[str, ...]]:
    """The spec with one signal written otherwise, or the codes of what refuses it."""
    signals = tuple(asked if i == index else s for i, s in enumerate(spec_file.spec.signals))
    changed = replace(spec_file, spec=spec_file.spec.model_copy(update={"signals": signals}))
    compiled, found = compile_spec(changed, evidence, cache)
    return compiled, tuple(dict.fromkeys(d.code for d in found if d.severity is Severity.ERROR))


def _spill(plan: Plan) -> float:
    others = collateral(plan.forecast)
    return float(f"{np.sqrt(np.mean([moved(r) ** 2 for r in others])):.6g}") if others else 0.0


STEPS = ("way", "strength", "g with the plan", "simulated", "spill", "effective")
HEAD = (
    "mechanism",
    "left",
    DEFINED,
    "g with the plan",
    "simulated",
    "spill",
    "furthest",
    "touched",
    "dropped",
    "effective",
)


def show(comparisons: tuple[Comparison, ...]) -> str:
    """The comparison as text. `left` is the share of today's first step, `by detector` the same as the concept's own detector
    counts; `*` marks what the spec compiles to."""
    return "\n".join(map(_show, comparisons))


def _show(comparison: Comparison) -> str:
    rows = [HEAD, *(_cells(c, comparison) for c in comparison.candidates)]
    title = f"{comparison.signal}: today {interval(comparison.first_step)}, wanted {signed(comparison.target)}"
    steps = [STEPS, *(_step_cells(s) for s in comparison.frontier)]
    return "\n".join(
        [title, *_aligned(rows), "  by the mechanism that is chosen (*), part of the way:", *_aligned(steps), ""]
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _step_cells(step: Step) -> tuple[str, ...]:
    if step.first_step is None:
        return (share(step.way, 0), f"refused: {', '.join(step.refused)}", *[NONE] * (len(STEPS) - 2))
    return (
        share(step.way, 0),
        signed(step.strength),
        interval(step.first_step),
        signed(step.simulated),
        f"{step.spill or 0.0:.4f}",
        share(step.effective_sample),
    )


def _cells(candidate: Candidate, comparison: Comparison) -> tuple[str, ...]:
    name = candidate.mechanism + (f" ({candidate.form})" if candidate.form else "") + ("*" if candidate.chosen else "")
    if candidate.first_step is None:
        return (name, f"refused: {', '.join(candidate.refused)}", *[NONE] * (len(HEAD) - 2))
    today = comparison.first_step
    left = NONE if today.low <= 0 <= today.high else share(candidate.first_step.value / today.value)
    return (
        name,
        left + ("" if candidate.meets else " missed"),
        share(candidate.defined, 0),
        interval(candidate.first_step),
        signed(candidate.simulated or 0.0),
        f"{candidate.spill or 0.0:.4f}",
        candidate.furthest or NONE,
        count(candidate.rows_touched or 0),
        count(candidate.rows_dropped or 0),
        share(candidate.effective_sample or 0.0),
    )
