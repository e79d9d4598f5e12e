"""The frontier of a sweep: verified runs of a signal at several strengths, beside the one that is being verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tiltc_runtime.report.model import ConceptOutcome, Frontier, FrontierPoint, Levels, PolicyName, Report


def differences(report: Report, other: Report) -> list[str]:
    """Why two verified runs can't be points of one sweep; nothing if they can."""
    out: list[str] = []
    if other.settings != report.settings:
        out.append("it was verified with other prompts or settings")
    names: tuple[PolicyName, PolicyName] = ("start", "plain")
    for name in names:
        if _digest(report, name) != _digest(other, name):
            out.append(f"it was verified beside another {'starting policy' if name == 'start' else 'baseline'}")
    if report.plan.train != other.plan.train or (report.plan.model, report.plan.data) != (
        other.plan.model,
        other.plan.data,
    ):
        out.append("it is another training: settings, model or data differ")
    if _changed(report) != _changed(other):
        out.append("it changes other signals than this run does")
    elif {row.name for row in report.collateral} != {row.name for row in other.collateral}:
        out.append("other things are measured beside its signals")
    elif not frontiers(report, [other], {}):
        out.append("none of its signals has a share of today's that its plan leaves")
    return out


def _changed(report: Report) -> set[tuple[str, str]]:
    return {(c.label, c.verb) for c in report.concepts if c.verb is not None}


def frontiers(report: Report, others: Sequence[Report], losses: Mapping[str, float]) -> tuple[Frontier, ...]:
    """One frontier for every signal that suppresses or amplifies and that all of the others change as well.

    Args:
        report: of the run that is verified.
        others: of the rest of the sweep, comparable with it.
        losses: weights -> held-out loss, where it was measured.
    """
    found: list[Frontier] = []
    for concept in report.concepts:
        every = [_point(r, concept, losses) for r in (report, *others)]
        points = [point for point in every if point is not None]
        levels = _levels(concept)
        if concept.verb in (None, "keep") or levels is None or len(points) < len(every):
            continue
        found.append(
            Frontier(
                name=concept.label,
                verb=concept.verb,
                measure=concept.measure,
                points=tuple(sorted(points, key=lambda point: (point.left, point.plan))),
                start=levels.start,
                plain=levels.plain,
                loss_start=losses.get(_digest(report, "start") or ""),
                loss_plain=losses.get(_digest(report, "plain") or ""),
            )
        )
    return tuple(found)


def _point(report: Report, asked: ConceptOutcome, losses: Mapping[str, float]) -> FrontierPoint | None:
    """Where a run stands for a signal; None where it has no such signal or nothing to divide by."""
    concept = next((c for c in report.concepts if (c.label, c.verb) == (asked.label, asked.verb)), None)
    foreseen = next((p for p in report.points if p.name == asked.label), None)
    levels = None if concept is None else _levels(concept)
    if concept is None or concept.measure != asked.measure or levels is None:
        return None
    if foreseen is None or not foreseen.first_step_plain:
        return None
    spill = [abs(row.shift.value) for row in report.collateral]
    return FrontierPoint(
        plan=report.plan.digest,
        left=foreseen.first_step_tilted / foreseen.first_step_plain,
        level=levels.tilted,
        spill=float(np.mean(spill)) if spill else None,
        loss=losses.get(_digest(report, "tilted") or ""),
    )


def _levels(concept: ConceptOutcome) -> Levels | None:
    return concept.rates if concept.measure == "rate" else concept.scores


def _digest(report: Report, name: PolicyName) -> str | None:
    return next((policy.digest for policy in report.policies if policy.name == name), None)
