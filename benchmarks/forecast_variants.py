"""Which forecast would have foreseen a verified run best? First step against kernels over what the model represents.

    python -m benchmarks.forecast_variants RUN --store .tiltc/evidence

RUN is a run folder that `tiltc verify --baseline` has measured. The first step says that training on a pair moves a
concept by the pair's own gap in it. A kernel lets pairs move what resembles them: the shift of concept c is
mean_j D_jc mean_i K_ij q_i, with q the plan's factor and K the inner product of two pairs' differences (chosen minus
rejected) in mean residuals, whitened with a ridge or as they are, in max activations, or in the measured concepts
themselves. Prints the signed squared correlation of each with what was realised, and the noise ceiling.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tiltc.derived import Derived
from tiltc.evidence import open_evidence
from tiltc.groups import group_score
from tiltc.plan import Plan
from tiltc.planfile import read_plan
from tiltc.readout import concept_scores
from tiltc.resolve.world import World, gap, read_world
from tiltc_runtime.report import Report

SHIFTS = ("difference", "plain", "tilted")
Array = np.ndarray


def item_gaps(plan: Plan, world: World, names: list[str]) -> Array:
    """(n, items) gaps by the plan's own readouts."""
    texts = [*world.chosen, *world.rejected]
    concepts = {c.name: c for c in plan.concepts}
    groups = {d.name: d.group for d in plan.discovered}
    scores = (
        group_score(groups[n], world.responses) if n in groups else concept_scores(concepts[n], texts, world.responses)
        for n in names
    )
    return np.column_stack([gap(world, s) for s in scores])


def whitened(x: Array, ridge: float) -> Array:
    """x (n, d) with its second moments made round; `ridge` is a share of their mean."""
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return x @ (vectors / np.sqrt(values + ridge * values.mean()))


def kernels(world: World, gaps: Array) -> dict[str, Array]:
    """Representations (n, d) whose inner products are the kernels."""
    n, usable = len(world.prompts), world.pairs.usable[:, None]
    residual = np.where(usable, world.residuals[:n] - world.residuals[n:], 0.0)
    features = np.where(usable, (world.responses[:n] - world.responses[n:]).toarray(), 0.0)
    live = features[:, (features != 0).mean(0) > 0.01]
    return {
        **{f"residuals, ridge {r:g}": whitened(residual, r) for r in (0.1, 1.0, 10.0)},
        "residuals, as they are": residual,
        "max activations": features,
        "max activations, standardised": live / (live.std(0) + 1e-6),
        "measured concepts": gaps,
    }


def agreement(foreseen: Array, realised: Array) -> float:
    r = float(np.corrcoef(foreseen, realised)[0, 1])
    return float(np.sign(r) * r * r)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--store", type=Path, default=Path(".tiltc/evidence"))
    args = arguments.parse_args()
    loaded, found = read_plan(args.run / "plan")
    assert loaded is not None, list(found)
    plan, rows = loaded.plan, loaded.rows
    folder = next((p.parent for p in args.store.glob("*/manifest.json") if plan.pins.evidence in p.read_text()), None)
    if folder is None:
        raise SystemExit(f"{args.store} does not hold the evidence of this plan")
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    world = read_world(evidence, Derived(None))
    report = Report.model_validate_json((args.run / "verify/report.json").read_text())
    if not report.has_baseline:
        raise SystemExit(f"{args.run} was verified without a baseline")
    ungated = {row.label for row in plan.forecast if row.when is None}
    points = [p for p in report.points if p.name in ungated]
    gaps = item_gaps(plan, world, [p.name for p in points])
    n, usable = len(gaps), world.pairs.usable.astype(float)
    keep, weight, offset = (np.asarray(rows[c], dtype=float) for c in ("keep", "weight", "margin_offset"))
    factor = keep * weight * (1 - np.tanh(0.5 * offset))
    pull = {"difference": factor - usable, "plain": usable, "tilted": factor}
    realised = {s: np.array([p.realised(s).value for p in points]) for s in SHIFTS}  # type: ignore[arg-type, union-attr]
    ceilings = {t.shift: t.noise_ceiling.value for t in report.forecasts if t.noise_ceiling}

    def line(name: str, foresee: Callable[[Array], Array]) -> None:
        print(f"{name:32}" + "".join(f"{agreement(foresee(pull[s]), realised[s]):+12.3f}" for s in SHIFTS))

    print(f"{len(points)} items" + " " * (32 - len(f"{len(points)} items")) + "".join(f"{s:>12}" for s in SHIFTS))
    line("first step", lambda q: gaps.T @ q / n)
    for name, x in kernels(world, gaps).items():
        line(name, lambda q, x=x: gaps.T @ (x @ (x.T @ q)) / n**2)
    print(f"{'noise ceiling':32}" + "".join(f"{ceilings.get(s, float('nan')):12.3f}" for s in SHIFTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
