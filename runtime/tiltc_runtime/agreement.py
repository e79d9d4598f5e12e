"""Forecast against realised: does what the plan foresaw line up with what was measured, and how well could it?

An item is a concept or a discovered group. Its realised shift is the mean difference of its standardised score between
two policies over paired rollouts. Items overlap (features are shared), so the permutation test is a little optimistic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from tiltc.plan import Interval
from tiltc_runtime.outcome import RESAMPLES, percentile, spans_zero, wilson
from tiltc_runtime.report.model import Better, Forecast, ForecastTest, Shift

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: random halves of the prompts behind a noise ceiling
SPLITS = 60
#: fewer items than this say nothing about a correlation
FEWEST_ITEMS = 4


def forecast_test(
    which: Forecast,
    shift: Shift,
    forecast: Array,
    realised: tuple[Interval, ...],
    ceiling: Interval | None,
    seed: int,
) -> ForecastTest | None:
    """Hold a forecast (items,) against the realised shifts. None with too few items, or none that differ."""
    measured = np.array([interval.value for interval in realised])
    if len(forecast) < FEWEST_ITEMS or not forecast.std() > 0 or not measured.std() > 0:
        return None
    pearson = float(pearson_rows(forecast[None], measured[None])[0])
    slope = float(forecast @ measured / (forecast @ forecast))
    clear = np.array([not spans_zero(interval) for interval in realised])
    return ForecastTest(
        forecast=which,
        shift=shift,
        items=len(forecast),
        r2=percentile(pearson**2, _r2_draws(forecast, measured, seed)),
        pearson=pearson,
        spearman=float(pearson_rows(sps.rankdata(forecast)[None], sps.rankdata(measured)[None])[0]),
        slope=slope,
        r2_origin=float(1 - ((measured - slope * forecast) ** 2).sum() / (measured @ measured)),
        sign_agreement=_signs(forecast, measured),
        sign_agreement_measured=_signs(forecast[clear], measured[clear]) if clear.any() else None,
        permutation_p=permutation_p(forecast, measured, seed),
        noise_ceiling=ceiling,
    )


def pearson_rows(a: Array, b: Array) -> Array:
    """Pearson correlation of the rows of `a` with those of `b`, both (k, items); 0 where one of them is constant."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), norm, out=np.zeros(len(norm)), where=norm > 0)


def permutation_p(forecast: Array, measured: Array, seed: int, permutations: int = RESAMPLES) -> float:
    """One-sided: how often a forecast shuffled over the items correlates at least as well as the real one."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(forecast, (permutations, 1)), axis=1)
    null = pearson_rows(shuffled, np.tile(measured, (permutations, 1)))
    real = pearson_rows(forecast[None], measured[None])[0]
    return float((1 + (null >= real - 1e-12).sum()) / (1 + permutations))


def noise_ceiling(differences: Array, prompt: Ints, seed: int) -> Interval | None:
    """Split-half reliability of the realised shifts: the R² that a perfect forecast would reach.

    Prompts are halved at random `SPLITS` times; the mean correlation r of the two halves' shifts is stepped up to the
    full length by Spearman and Brown, 2r / (1 + r), and floored at 0. The interval resamples items.

    Args:
        differences: (rollouts, items) paired differences of the score; NaN where a gate is closed.
        prompt: (rollouts,) number of the prompt.
    """
    names = np.unique(prompt)
    if len(names) < 4 or differences.shape[1] < FEWEST_ITEMS:
        return None
    rng = np.random.default_rng(seed)
    first, second = _halves(differences, prompt, names, rng)
    known = np.isfinite(first).all(0) & np.isfinite(second).all(0)
    first, second = first[:, known], second[:, known]
    if first.shape[1] < FEWEST_ITEMS:
        return None
    items = rng.integers(0, first.shape[1], size=(RESAMPLES // 4, first.shape[1]))
    draws = np.array([_reliability(first[:, picked], second[:, picked]) for picked in items])
    return percentile(_reliability(first, second), draws)


def _halves(differences: Array, prompt: Ints, names: Ints, rng: np.random.Generator) -> tuple[Array, Array]:
    """Mean differences (splits, items) on either half of the prompts."""
    first, second = np.empty((2, SPLITS, differences.shape[1]))
    open_ = np.isfinite(differences)
    values = np.where(open_, differences, 0.0)
    for i in range(SPLITS):
        half = np.isin(prompt, rng.permutation(names)[: len(names) // 2])
        for side, out in ((half, first), (~half, second)):
            count = open_[side].sum(0)
            out[i] = np.divide(values[side].sum(0), count, out=np.full(len(count), np.nan), where=count > 0)
    return first, second


def _reliability(first: Array, second: Array) -> float:
    r = float(pearson_rows(first, second).mean())
    return max(0.0, 2 * r / (1 + r)) if r > -1 else 0.0


def _r2_draws(forecast: Array, measured: Array, seed: int) -> Array:
    items = np.random.default_rng(seed).integers(0, len(forecast), size=(RESAMPLES, len(forecast)))
    return pearson_rows(forecast[items], measured[items]) ** 2


def _signs(forecast: Array, measured: Array) -> Interval:
    """Share of items moving as foreseen, among those that are foreseen to move at all."""
    moves = forecast != 0
    if not moves.any():
        return Interval(value=0.0, low=0.0, high=1.0)
    return wilson(int((np.sign(forecast[moves]) == np.sign(measured[moves])).sum()), int(moves.sum()))


def better_forecast(first_step: Array, simulated: Array, measured: Array, seed: int) -> Better:
    """Which forecast has the higher R²; undecided when the interval of the difference (items resampled) spans zero."""
    gap = pearson_rows(simulated[None], measured[None])[0] ** 2 - pearson_rows(first_step[None], measured[None])[0] ** 2
    draws = _r2_draws(simulated, measured, seed) - _r2_draws(first_step, measured, seed)
    interval = percentile(float(gap), draws)
    if spans_zero(interval):
        return Better(forecast="undecided", difference=interval)
    return Better(forecast="simulated" if gap > 0 else "first_step", difference=interval)
