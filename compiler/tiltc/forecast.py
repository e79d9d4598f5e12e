"""Forecast: what training will push on every concept, without the plan and with it.

Two forecasts are made. The first step, g (design section 7): the mean gap, each pair counted by its factor. And the
simulated training: a linear Bradley-Terry model over the gaps of all concepts and groups, trained with the plan's rows,
weights and offsets for as long as it takes plain training to reach a mean margin of one logit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltc.choose import Solved
from tiltc.plan import ForecastRow, Interval
from tiltc.stats import bootstrap_means

Array = npt.NDArray[np.float64]

SEED = 20260612
#: simulated training stops when the mean absolute margin of plain training reaches this (logits)
MARGIN = 1.0
#: its step size, most steps, and the ridge as a share of the mean squared gap
RATE, STEPS, RIDGE = 0.2, 300, 0.02


@dataclass(frozen=True)
class Columns:
    """All that is forecast: names, kinds and gaps (n, k), declared first."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    gaps: Array


def columns(solved: Solved) -> Columns:
    resolved = solved.checked.resolved
    declared = {s.concept.plan.name: s.gap for s in resolved.signals}
    library = {m.plan.name: m.gap for m in resolved.library}
    groups = dict(zip((d.name for d in resolved.discovered), resolved.discovered_gaps.T, strict=True))
    parts = (("declared", declared), ("library", library), ("discovered", groups))
    names = tuple(n for _, part in parts for n in part)
    kinds = tuple(kind for kind, part in parts for _ in part)
    gaps = [g for _, part in parts for g in part.values()]
    return Columns(names, kinds, np.column_stack(gaps))


def forecast(solved: Solved) -> tuple[ForecastRow, ...]:
    """One row for every declared, library and discovered concept."""
    cols = columns(solved)
    cluster = solved.checked.resolved.pairs.cluster
    plain, tilted = _first_step(cols.gaps, solved.factor, cluster)
    shift_plain, shift_tilted = simulate(cols.gaps, solved)
    bands = {b.signal.concept.plan.name: b for b in solved.bands}
    rows: list[ForecastRow] = []
    for i, (name, kind) in enumerate(zip(cols.names, cols.kinds, strict=True)):
        band = bands.get(name)
        rows.append(
            ForecastRow(
                name=name,
                kind=kind,  # type: ignore[arg-type]
                verb=band.signal.verb if band else None,  # type: ignore[arg-type]
                plain=plain[i],
                tilted=tilted[i],
                simulated_plain=_round(shift_plain[i]),
                simulated_tilted=_round(shift_tilted[i]),
                target=_round(band.target) if band else None,
                tolerance=_round(band.tolerance) if band else None,
            )
        )
    return tuple(rows)


def _first_step(gaps: Array, factor: Array, cluster: npt.NDArray[np.int64]) -> tuple[list[Interval], list[Interval]]:
    """g without and with the plan, from the same bootstrap draws."""
    contributions = np.hstack([gaps, gaps * factor[:, None]])
    low, high = bootstrap_means(contributions, cluster, SEED)
    intervals = [
        Interval(value=_round(v), low=_round(a), high=_round(b))
        for v, a, b in zip(contributions.mean(0), low, high, strict=True)
    ]
    return intervals[: gaps.shape[1]], intervals[gaps.shape[1] :]


def simulate(gaps: Array, solved: Solved) -> tuple[Array, Array]:
    """Shift (k,) of every score, in sd, after simulated plain and tilted training of the same length.

    Gradient descent on mean(b softplus(-(m + o))) over margins m that lie in the span of the gaps. The descent is in
    the space of margins and not of coefficients, so a concept that is measured under five names does not count five
    times. A score moves by the covariance of its gap with the learned margin; the first step is g itself.
    """
    n, k = gaps.shape
    second = gaps.T @ gaps / n
    ridge = RIDGE * float(np.trace(second)) / max(k, 1) + 1e-12
    project = np.linalg.solve(second + ridge * np.eye(k), gaps.T / n)
    plain, steps = _descend(gaps, project, np.ones(n), np.zeros(n), None)
    tilted, _ = _descend(gaps, project, solved.keep * solved.weight, solved.offset, steps)
    return gaps.T @ plain / n, gaps.T @ tilted / n


def _descend(gaps: Array, project: Array, base: Array, offset: Array, steps: int | None) -> tuple[Array, int]:
    """The margins (n,) after `steps` steps, or after as many as bring their mean size to `MARGIN`."""
    margin = np.zeros(len(gaps))
    for step in range(steps or STEPS):
        if steps is None and np.abs(margin).mean() >= MARGIN:
            return margin, step
        pull = base * 0.5 * (1 - np.tanh(0.5 * (margin + offset)))
        margin = margin + RATE * (gaps @ (project @ pull))
    return margin, steps or STEPS


def _round(value: float) -> float:
    return float(f"{value:.6g}")
