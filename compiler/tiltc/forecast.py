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
from tiltc.defined import defined_gaps
from tiltc.plan import Defined, ForecastRow, Interval, Kind
from tiltc.protocols import Band
from tiltc.resolved import ResolvedSpec
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
    #: (n,) gaps once all token masks are in place
    masked: Array
    band: Band | None = None
    share: float = 1.0
    #: (n,) of gaps that are the rest of a regression: its mean is theirs, and its spread counts the coefficients'
    influence: Array | None = None


def items(solved: Solved) -> tuple[Item, ...]:
    """All that is forecast: every signal, every concept that none of them names as a whole, the library, the groups."""
    resolved = solved.checked.resolved
    masking = resolved.masking
    after = {} if masking is None else masking.after
    groups_after = resolved.discovered_gaps if masking is None else masking.discovered
    signals = [_of_signal(band, resolved) for band in solved.bands]
    bands = solved.bands
    whole = {b.signal.concept.plan.name for b in bands if b.signal.gate is None and b.signal.apart is None}
    named = {b.signal.concept.plan.name: b.signal.concept.gap for b in bands}
    overall = [Item(name, "declared", g, after.get(name, g)) for name, g in named.items() if name not in whole]
    library = [Item(m.plan.name, "library", m.gap, after.get(m.plan.name, m.gap)) for m in resolved.library]
    groups = [
        Item(d.name, "discovered", g, m)
        for d, g, m in zip(resolved.discovered, resolved.discovered_gaps.T, groups_after.T, strict=True)
    ]
    return (*signals, *overall, *library, *groups)


def _of_signal(band: Band, resolved: ResolvedSpec) -> Item:
    signal = band.signal
    opened = None if signal.gate is None else signal.gate.present
    share = 1.0 if opened is None else float((opened & resolved.pairs.usable).mean())
    return Item(
        signal.concept.plan.name, "declared", signal.gap, resolved.gap_masked(signal), band, share, signal.influence
    )


def forecast(solved: Solved) -> tuple[ForecastRow, ...]:
    """One row for every item, signals in the order of the spec."""
    every = items(solved)
    gaps, masked = (np.column_stack([getattr(item, k) for item in every]) for k in ("gap", "masked"))
    seen = np.where(solved.masked[:, None], masked, gaps)
    cluster = solved.checked.resolved.pairs.cluster
    felt = np.column_stack([item.gap if item.influence is None else item.influence for item in every])
    plain, tilted = _first_step(gaps, felt, seen * solved.factor[:, None], cluster)
    shift_plain, shift_tilted = simulate(gaps, seen, solved)
    defined = _defined(solved)
    return tuple(
        _row(item, plain[i], tilted[i], float(shift_plain[i]), float(shift_tilted[i]), defined.get(i))
        for i, item in enumerate(every)
    )


def _defined(solved: Solved) -> dict[int, Defined]:
    """What the concepts' own detectors say of the signals, by their number in `items`."""
    each = {i: defined_gaps(solved, band.signal) for i, band in enumerate(solved.bands)}
    known = {i: gaps for i, gaps in each.items() if gaps is not None}
    if not known:
        return {}
    plain, tilted = (np.column_stack(columns) for columns in zip(*known.values(), strict=True))
    intervals = zip(*_first_step(plain, plain, tilted, solved.checked.resolved.pairs.cluster), strict=True)
    return {i: Defined(plain=a, tilted=b) for i, (a, b) in zip(known, intervals, strict=True)}


def _row(
    item: Item, plain: Interval, tilted: Interval, shift_plain: float, shift_tilted: float, defined: Defined | None
) -> ForecastRow:
    band = item.band
    gate = band.signal.gate if band else None
    return ForecastRow(
        name=item.name,
        kind=item.kind,
        verb=band.signal.verb if band else None,
        when=gate.plan.name if gate else None,
        apart=band.signal.apart if band else None,
        share=_round(item.share),
        plain=plain,
        tilted=tilted,
        simulated_plain=_round(shift_plain),
        simulated_tilted=_round(shift_tilted),
        target=_round(band.target) if band else None,
        tolerance=_round(band.tolerance) if band else None,
        defined=defined,
    )


def _first_step(
    gaps: Array, felt: Array, tilted: Array, cluster: npt.NDArray[np.int64]
) -> tuple[list[Interval], list[Interval]]:
    """g without and with the plan, from the same bootstrap draws.

    Args:
        gaps: (n, k)
        felt: (n, k) the gaps, where they are the rest of a regression its influence. On other pairs the coefficients would
            be others too, which takes back a part of what their gaps add: bootstrapped as they are, rests spread too far.
        tilted: (n, k) with the plan's masks and factors. An interval of this column takes the plan as given, and the
            coefficients are as much the plan's as the weights and offsets that were solved with them: `verify` reads the
            tilted policy by just these. So nothing is fitted again here; with other coefficients the factors would be others.
    """
    low, high = bootstrap_means(np.hstack([felt, tilted]), cluster, SEED)
    intervals = [
        Interval(value=_round(v), low=_round(a), high=_round(b))
        for v, a, b in zip(np.hstack([gaps, tilted]).mean(0), low, high, strict=True)
    ]
    return intervals[: gaps.shape[1]], intervals[gaps.shape[1] :]


def simulate(gaps: Array, seen: Array, solved: Solved) -> tuple[Array, Array]:
    """Shift (k,) of every score, in sd, after simulated plain and tilted training of the same length.

    Gradient descent on mean(b softplus(-(m + o))) over margins m that lie in the span of the gaps. The descent is in
    the space of margins and not of coefficients, so a concept that is measured under five names does not count five
    times. A score moves by the covariance of its gap with the learned margin; the first step is g itself.

    Args:
        gaps: (n, k)
        seen: (n, k) what the plan's token masks leave of them.
    """
    n = len(gaps)
    plain, steps = _descend(gaps, np.ones(n), np.zeros(n), None)
    tilted, _ = _descend(seen, solved.keep * solved.weight, solved.offset + solved.implied, steps)
    return gaps.T @ plain / n, seen.T @ tilted / n


def _descend(gaps: Array, base: Array, offset: Array, steps: int | None) -> tuple[Array, int]:
    """The margins (n,) after `steps` steps, or after as many as bring their mean size to `MARGIN`."""
    n, k = gaps.shape
    second = gaps.T @ gaps / n
    ridge = RIDGE * float(np.trace(second)) / max(k, 1) + 1e-12
    project = np.linalg.solve(second + ridge * np.eye(k), gaps.T / n)
    margin = np.zeros(len(gaps))
    for step in range(steps or STEPS):
        if steps is None and np.abs(margin).mean() >= MARGIN:
            return margin, step
        pull = base * 0.5 * (1 - np.tanh(0.5 * (margin + offset)))
        margin = margin + RATE * (gaps @ (project @ pull))
    return margin, steps or STEPS


def _round(value: float) -> float:
    return float(f"{value:.6g}")
