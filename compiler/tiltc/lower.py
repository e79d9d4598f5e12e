"""Lower: the solved spec as a plan and its rows."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from tiltc.choose import Solved
from tiltc.forecast import forecast
from tiltc.plan import Action, Allowed, Pins, Plan, PlanConcept, Spend
from tiltc.planfile import row_table, sealed
from tiltc.protocols import Decision
from tiltc.solve import effective_sample

if TYPE_CHECKING:
    import pyarrow as pa

    from tiltc.evidence import Manifest
    from tiltc.parse import SpecFile

#: weights and offsets are written to this many significant digits: beyond them lie the last bits of a BLAS
DIGITS = 9


def lower(
    spec_file: SpecFile, solved: Solved, manifest: Manifest, allowed: tuple[Allowed, ...]
) -> tuple[Plan, pa.Table]:
    """The plan and its `rows.parquet` table, digests filled in."""
    rows = _rows(solved)
    spec = spec_file.spec
    concepts = _concepts(solved)
    plan = Plan(
        compiler=version("tiltc"),
        name=spec.name,
        model=spec.model,
        sae=spec.sae,
        data=spec.data,
        train=spec.train,
        verify=spec.verify,
        budget=spec.budget,
        pins=_pins(spec_file, manifest, concepts),
        overrides=dict(sorted(spec_file.overrides.items())),
        concepts=concepts,
        discovered=solved.checked.resolved.discovered,
        actions=tuple(_action(d) for d in solved.decisions),
        forecast=forecast(solved),
        spend=_spend(solved),
        allowed=allowed,
    )
    return sealed(plan, rows), rows


def _pins(spec_file: SpecFile, manifest: Manifest, concepts: tuple[PlanConcept, ...]) -> Pins:
    return Pins(
        spec=spec_file.digest,
        evidence=manifest.digest,
        model=manifest.model,
        sae=manifest.sae,
        data=manifest.data,
        template=manifest.template,
        max_length=manifest.max_length,
        contrasts={c.name: c.contrast for c in concepts if c.contrast},
        rows="",  # filled in by `sealed`
    )


def _concepts(solved: Solved) -> tuple[PlanConcept, ...]:
    resolved = solved.checked.resolved
    declared = {s.concept.plan.name: s.concept.plan for s in resolved.signals}
    gates = {g.plan.name: g.plan for g in resolved.gates}
    library = {m.plan.name: m.plan for m in resolved.library}
    return (*declared.values(), *gates.values(), *library.values())


def _action(decision: Decision) -> Action:
    signal = decision.band.signal
    return Action(
        mechanism=decision.mechanism,
        signal=f"{signal.verb}: {signal.label}",
        concept=signal.concept.plan.name,
        strength=_digits(decision.strength),
        rows_touched=int(decision.rows.sum()),
        because=decision.because,
    )


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rows(solved: Solved) -> pa.Table:
    weight = (
        np.where(solved.keep, solved.weight / solved.weight[solved.keep].mean(), 0.0)
        if solved.keep.any()
        else solved.weight
    )
    return row_table(
        {
            "row_id": solved.checked.resolved.pairs.row_ids,
            "keep": solved.keep,
            "weight": [_digits(w) for w in weight],
            "margin_offset": [_digits(o) for o in solved.offset],
            **_masks(solved),
            "reason": _reasons(solved),
        }
    )


def _masks(solved: Solved) -> dict[str, list[list[int]]]:
    masking = solved.checked.resolved.masking
    if masking is None:
        return {}
    sides = {"chosen_masked": masking.chosen, "rejected_masked": masking.rejected}
    return {
        name: [tokens.tolist() if on else [] for tokens, on in zip(side, solved.masked, strict=True)]
        for name, side in sides.items()
    }


def _reasons(solved: Solved) -> list[str]:
    said: list[list[str]] = [[] if ok else ["not usable"] for ok in solved.checked.resolved.pairs.usable]
    for decision in solved.decisions:
        what = f"{decision.mechanism} {decision.band.signal.label}"
        for row in np.flatnonzero(decision.rows):
            said[row].append(what)
    return ["; ".join(s) for s in said]


def _spend(solved: Solved) -> Spend:
    base = solved.keep * solved.weight
    return Spend(
        rows=len(solved.keep),
        kept=int(solved.keep.sum()),
        unusable=int((~solved.checked.resolved.pairs.usable).sum()),
        effective_sample=_digits(effective_sample(1 - np.tanh(0.5 * solved.offset), base)),
        largest_weight=_digits(float(base.max(initial=0.0))),
        largest_offset=_digits(float(np.abs(solved.offset).max(initial=0.0))),
    )
