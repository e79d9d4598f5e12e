"""Every admissible mechanism for a signal, side by side: what it reaches, what it drags along, what it costs.

Each candidate is a whole compile of the spec with that one signal carried out in another way; all else stays as written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from tiltc.check.methods import admissible
from tiltc.diagnostics import Severity
from tiltc.figures import NONE, count, interval, share, signed
from tiltc.pipeline import compile_spec
from tiltc.plan import Built, Interval, gated
from tiltc.show import collateral, met, moved
from tiltc.spec import Amplify, Form, Keep, Signal

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
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
OPTIONS = ("unit", "form", "size", "fraction", "strength")


class Candidate(BaseModel):
    """One way of carrying a signal out.

    Attributes:
        refused: codes of the errors that it compiles to; all figures are None then.
        meets: whether the signal's first step is within its tolerance.
        first_step: g with the plan, sd of gap.
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
    simulated: float | None = None
    spill: float | None = None
    furthest: str | None = None
    rows_touched: int | None = None
    rows_dropped: int | None = None
    effective_sample: float | None = None


class Comparison(BaseModel):
    """A signal, what the data teaches of it today, and its candidates."""

    signal: str
    first_step: Interval
    simulated: float
    target: float
    candidates: tuple[Candidate, ...]


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
    label = f"{signal.verb}: {gated(signal.concept, signal.when)}"
    used = {a.mechanism for a in today.actions if a.signal == label}
    form = getattr(signal, "form", None) or "residual"
    candidates = tuple(
        _candidate(spec_file, evidence, cache, index, mechanism, f).model_copy(
            update={"chosen": mechanism in used and f in (None, form)}
        )
        for mechanism, f in _candidates(spec_file, signal)
    )
    assert row.target is not None, "a signal's row has a target"
    return Comparison(
        signal=label, first_step=row.plain, simulated=row.simulated_plain, target=row.target, candidates=candidates
    )


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
    spec, signal = spec_file.spec, spec_file.spec.signals[index]
    cleared = dict.fromkeys(OPTIONS) if getattr(signal, "with_", None) != mechanism else {}
    asked = signal.model_copy(update={**cleared, "with_": mechanism, "form": form})
    signals = tuple(asked if i == index else s for i, s in enumerate(spec.signals))
    changed = replace(spec_file, spec=spec.model_copy(update={"signals": signals}))
    compiled, found = compile_spec(changed, evidence, cache)
    if compiled is None:
        codes = tuple(dict.fromkeys(d.code for d in found if d.severity is Severity.ERROR))
        return Candidate(mechanism=mechanism, form=form, refused=codes)
    plan, row = compiled.plan, compiled.plan.forecast[index]
    others = collateral(plan.forecast)
    label = f"{signal.verb}: {gated(signal.concept, signal.when)}"
    touched = [a.rows_touched for a in plan.actions if (a.mechanism, a.signal) == (mechanism, label)]
    return Candidate(
        mechanism=mechanism,
        form=form,
        meets=met(row),
        first_step=row.tilted,
        simulated=row.simulated_tilted,
        spill=float(f"{np.sqrt(np.mean([moved(r) ** 2 for r in others])):.6g}") if others else 0.0,
        furthest=others[0].name if others else None,
        rows_touched=max(touched, default=0),
        rows_dropped=plan.spend.rows - plan.spend.unusable - plan.spend.kept,
        effective_sample=plan.spend.effective_sample,
    )


HEAD = ("mechanism", "left", "g with the plan", "simulated", "spill", "furthest", "touched", "dropped", "effective")


def show(comparisons: tuple[Comparison, ...], markdown: bool = False) -> str:
    """The comparison as text or Markdown. `left` is the share of today's first step; `*` marks what the spec compiles to."""
    return "\n".join(_show(c, markdown) for c in comparisons)


def _show(comparison: Comparison, markdown: bool) -> str:
    rows = [HEAD, *(_cells(c, comparison) for c in comparison.candidates)]
    title = f"{comparison.signal}: today {interval(comparison.first_step)}, wanted {signed(comparison.target)}"
    if markdown:
        lines = [" | ".join(row) for row in rows]
        ruled = [lines[0], " | ".join("---" for _ in HEAD), *lines[1:]]
        return "\n".join([f"**{title}**", "", *(f"| {line} |" for line in ruled), ""])
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    body = ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([title, *body, ""])


def _cells(candidate: Candidate, comparison: Comparison) -> tuple[str, ...]:
    name = candidate.mechanism + (f" ({candidate.form})" if candidate.form else "") + ("*" if candidate.chosen else "")
    if candidate.first_step is None:
        return (name, f"refused: {', '.join(candidate.refused)}", *[NONE] * (len(HEAD) - 2))
    today = comparison.first_step
    left = NONE if today.low <= 0 <= today.high else share(candidate.first_step.value / today.value)
    return (
        name,
        left + ("" if candidate.meets else " missed"),
        interval(candidate.first_step),
        signed(candidate.simulated or 0.0),
        f"{candidate.spill or 0.0:.4f}",
        candidate.furthest or NONE,
        count(candidate.rows_touched or 0),
        count(candidate.rows_dropped or 0),
        share(candidate.effective_sample or 0.0),
    )
