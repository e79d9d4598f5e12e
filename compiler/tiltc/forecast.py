"""Forecast: what training will push on every concept, without the plan and with it.

Two forecasts are made. The first step, g (design section 7): the mean gap, each pair counted by its factor. And the
simulated training: a linear Bradley-Terry model over the gaps of all concepts and groups, trained with the plan's rows,
weights and offsets for as long as it takes plain training to reach a mean margin of one logit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltc.choose import Band, Solved
from tiltc.plan import ForecastRow, Interval, Kind
from tiltc.stats import bootstrap_means

Array = npt.NDArray[np.float64]

SEED = 20260612
#: simulated training stops when the mean absolute margin of plain training reaches this (logits)
MARGIN = 1.0
#: its step size, most steps, and the ridge as a share of the mean squared gap
RATE, STEPS, RIDGE = 0.2, 300, 0.02


@dataclass(frozen=True)
class Item:
    """One thing that is forecast. `band` is what its signal allows, None where no signal names it.

    Attributes:
        gap: (n,) gaps, zero where the signal's gate is closed.
        share: share of the pairs on which the gate is open, 1 without a gate.
    """

    name: str
    kind: Kind
    gap: Array
    band: Band | None = None
    share: float = 1.0


def items(solved: Solved) -> tuple[Item, ...]:
    """All that is forecast: every signal, every concept that only a gated signal names, the library, the groups."""
    resolved = solved.checked.resolved
    signals = [_of_signal(band, resolved.pairs.usable) for band in solved.bands]
    everywhere = {b.signal.concept.plan.name for b in solved.bands if b.signal.gate is None}
    gated = {b.signal.concept.plan.name: b.signal.concept.gap for b in solved.bands}
    overall = [Item(name, "declared", gap) for name, gap in gated.items() if name not in everywhere]
    library = [Item(m.plan.name, "library", m.gap) for m in resolved.library]
    groups = [
        Item(d.name, "discovered", g) for d, g in zip(resolved.discovered, resolved.discovered_gaps.T, strict=True)
    ]
    return (*signals, *overall, *library, *groups)


def _of_signal(band: Band, usable: npt.NDArray[np.bool_]) -> Item:
    signal = band.signal
    opened = None if signal.gate is None else signal.gate.present
    share = 1.0 if opened is None else float((opened & usable).mean())
    return Item(signal.concept.plan.name, "declared", signal.gap, band, share)


def forecast(solved: Solved) -> tuple[ForecastRow, ...]:
    """One row for every item, signals in the order of the spec."""
    every = items(solved)
    gaps = np.column_stack([item.gap for item in every])
    cluster = solved.checked.resolved.pairs.cluster
    plain, tilted = _first_step(gaps, solved.factor, cluster)
    shift_plain, shift_tilted = simulate(gaps, solved)
    return tuple(
        _row(item, plain[i], tilted[i], float(shift_plain[i]), float(shift_tilted[i])) for i, item in enumerate(every)
    )


def _row(item: Item, plain: Interval, tilted: Interval, shift_plain: float, shift_tilted: float) -> ForecastRow:
    band = item.band
    gate = band.signal.gate if band else None
    return ForecastRow(
        name=item.name,
        kind=item.kind,
        verb=band.signal.verb if band else None,
        when=gate.plan.name if gate else None,
        share=_round(item.share),
        plain=plain,
        tilted=tilted,
        simulated_plain=_round(shift_plain),
        simulated_tilted=_round(shift_tilted),
        target=_round(band.target) if band else None,
        tolerance=_round(band.tolerance) if band else None,
    )


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
