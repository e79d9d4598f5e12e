"""What a report has to be told about: T6xx findings, for the terminal, for CI and for the page itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tiltc.audit.names.title import NAMELESS
from tiltc.audit.snippet import slug
from tiltc.diagnostics import Diagnostics
from tiltc.figures import number
from tiltc.findings import as_findings
from tiltc.plan import Interval
from tiltc_runtime.outcome import VERDICT_CODES, spans_zero
from tiltc_runtime.report.figures import level, shift
from tiltc_runtime.report.model import CollateralRow, ConceptOutcome, Levels, Measure, Report

#: false discovery rate at which an unnamed shift is worth a warning
Q_COLLATERAL = 0.05
#: share of degenerate rollouts beyond the start policy's that spoils a comparison
DEGENERATE = 0.10
#: prompts outside of a gate that a finding about them takes: a bootstrap over fewer is no interval
FEWEST_SHUT = 10
#: what a `keep` allows without `within`, and what no `within` reaches
WITHIN, MOST_ALONG = 0.10, 0.99
#: a forecast that a shuffled one beats this often is no forecast
P_CHANCE = 0.05


def effect_findings(report: Report, timed_out: Sequence[str] = ()) -> tuple[Report, Diagnostics]:
    """The report with its findings, and the same findings as diagnostics."""
    found = Diagnostics()
    for concept in report.concepts:
        _verdict(concept, report, found)
        _control(concept, found)
        _outside(concept, found)
    for name in timed_out:
        found.add("T605", None, f"`{name}`: its pattern ran for too long on a rollout")
    _collateral(report, found)
    _chance(report, found)
    _degenerate(report, found)
    return report.model_copy(update={"findings": as_findings(found)}), found


def _verdict(concept: ConceptOutcome, report: Report, found: Diagnostics) -> None:
    code = VERDICT_CODES.get(concept.verdict or "kept")
    if code is None:
        return
    helps = [] if report.has_baseline else ["give a baseline: `--baseline RUN`, from `tiltc run PLAN --plain`"]
    notes = [concept.because, *_numbers(concept)]
    found.add(code, None, f"{concept.verb}: {concept.label}", notes=notes, helps=helps)


def _control(concept: ConceptOutcome, found: Diagnostics) -> None:
    """An effect that can't be told from that of any sentence is not the instruction's."""
    beside, made = concept.beside, concept.difference
    if beside is None or made is None or spans_zero(made):
        return
    if not spans_zero(beside.beyond) and beside.beyond.value * made.value > 0:
        return
    notes = [f"tilted minus control: {shift(beside.beyond, concept.measure)}"]
    if beside.by_itself is not None:
        notes.append(f"control minus plain: {shift(beside.by_itself, concept.measure)}")
    notes += _numbers(concept)
    found.add("T609", None, f"{concept.verb}: {concept.label}", notes=notes)


def _outside(concept: ConceptOutcome, found: Diagnostics) -> None:
    """A change behind a gate that is there without it too."""
    outside = concept.outside
    if outside is None or outside.difference is None or spans_zero(outside.difference):
        return
    if outside.prompts < FEWEST_SHUT:
        return
    notes = [f"where the gate is shut: {_levels(outside.levels, concept.measure)} ({outside.rollouts} rollouts each)"]
    notes.append(f"tilted minus plain: {shift(outside.difference, concept.measure)}")
    if concept.difference is not None and outside.beyond is not None:
        notes.append(f"where it is open: {shift(concept.difference, concept.measure)}")
        notes.append(f"open less shut: {shift(outside.beyond, concept.measure)}")
    found.add("T610", None, f"{concept.verb}: {concept.label}", notes=notes)


def _numbers(concept: ConceptOutcome) -> list[str]:
    levels = concept.rates if concept.measure == "rate" else concept.scores
    if levels is None:
        return []
    compared = concept.difference or concept.shift_tilted
    against = "plain" if concept.difference else "start"
    return [
        f"{_levels(levels, concept.measure)} ({concept.rollouts} rollouts each)",
        f"tilted minus {against}: {shift(compared, concept.measure)}",
    ]


def _levels(levels: Levels, measure: Measure) -> str:
    named = (("start", levels.start), ("plain", levels.plain), ("control", levels.control), ("tilted", levels.tilted))
    return ", ".join(f"{name} {level(value, measure)}" for name, value in named if value is not None)


def _collateral(report: Report, found: Diagnostics) -> None:
    moved = [row for row in report.collateral if row.q < Q_COLLATERAL]
    if not moved:
        return
    against = "plain" if report.has_baseline else "start"
    notes = [f"{row.called}: {_sd(row.shift)}, q = {number(row.q)}" for row in moved[:5]]
    if len(moved) > 5:
        notes.append(f"and {len(moved) - 5} more")
    text = f"{len(moved)} of {len(report.collateral)} things that no signal names differ from {against}"
    found.add("T606", None, text, notes=notes, helps=_helps(moved, {c.name for c in report.concepts}))


def _helps(moved: Sequence[CollateralRow], taken: Collection[str]) -> list[str]:
    """How to hold what moved furthest of what can be held: a spec with these lines compiles."""
    can = [row for row in moved if not row.shares and row.along < MOST_ALONG]
    if not can:
        shared = next((row.shares for row in moved if row.shares), "what the spec changes")
        return [f"it moves along with `{shared}`: gate that with `when:`, or tell it apart with `apart_from:`"]
    return lines_that_keep(can[0], taken)


def lines_that_keep(row: CollateralRow, taken: Collection[str]) -> list[str]:
    """A concept for a group of features, and a signal that the plan as it is meets: `within` is what its first step takes."""
    far = row.along > WITHIN
    within = f", within: {int(100 * row.along) + 1}%" if far else ""
    said = ["so much of it the plan's first step takes: a smaller `within` costs some of what is asked"] if far else []
    if not row.audit:
        return [f"to hold {row.name}, under `signals:`  - {{keep: {row.name}{within}}}", *said]
    name = slug(row.title) if row.title != NAMELESS else "found"
    name = f"{name}-{row.audit.replace('-', '')[:7]}" if name in taken or row.title == NAMELESS else name
    about = f"Responses like those with {name.replace('-', ' ')}."
    return [
        f"to hold it, under `concepts:`  {name}: {{about: {about}, audit: {row.audit}}}",
        f"and under `signals:`  - {{keep: {name}{within}}}",
        *said,
    ]


def _sd(value: Interval) -> str:
    return f"{value.value:+.2f} sd ({value.low:+.2f} to {value.high:+.2f})"


def _chance(report: Report, found: Diagnostics) -> None:
    tests = [test for test in report.forecasts if test.shift == "tilted"]
    if not tests or any(test.permutation_p <= P_CHANCE for test in tests):
        return
    best = max(tests, key=lambda test: test.r2.value)
    ceiling = f"; noise ceiling {number(best.noise_ceiling.value, 2)}" if best.noise_ceiling else ""
    note = f"best R² {number(best.r2.value, 2)}, permutation p = {number(best.permutation_p)}{ceiling}"
    found.add("T607", None, f"over {best.items} concepts and groups", notes=[note])


def _degenerate(report: Report, found: Diagnostics) -> None:
    start = next(policy for policy in report.policies if policy.name == "start")
    for policy in report.policies:
        if policy.degenerate > start.degenerate + DEGENERATE:
            text = f"{policy.degenerate:.0%} of the {policy.name} policy's rollouts are no language"
            found.add("T608", None, text, notes=[f"start policy: {start.degenerate:.0%}"])
