"""Bootstrap intervals and length control for the tests that are reported."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from tiltc.audit.families import Family
from tiltc.audit.inside import Array, Ints
from tiltc.plan import Interval
from tiltc.stats import Effect, adjusted_effect

#: draws made at a time, and tests whose sums are held at a time
DRAWS, TESTS = 100, 64


def bootstrap(family: Family, at: tuple[Ints, Ints], resamples: int, seed: int) -> tuple[Array, Array]:
    """95% percentile intervals (h,) of delta of the tests at (context, response) places, resampling prompts."""
    low, high = np.zeros(len(at[0])), np.zeros(len(at[0]))
    for start in range(0, len(at[0]), TESTS):
        part = slice(start, start + TESTS)
        low[part], high[part] = _bootstrap(family, (at[0][part], at[1][part]), resamples, seed)
    return low, high


def _bootstrap(family: Family, at: tuple[Ints, Ints], resamples: int, seed: int) -> tuple[Array, Array]:
    cluster = family.contexts.cluster
    prompts, n = int(cluster.max()) + 1, len(cluster)
    incidence = sparse.csr_matrix((np.ones(n), (cluster, np.arange(n))), shape=(prompts, n))
    inside = np.asarray(family.contexts.member[at[0]].T.toarray(), dtype=np.float32)
    values = family.values[:, at[1]]
    within, sizes_in = incidence @ (inside * values), incidence @ inside
    total, sizes = incidence @ values, np.asarray(incidence.sum(1))
    rng = np.random.default_rng(seed)
    draws = np.concatenate([_draw(rng, min(DRAWS, resamples - s), prompts, family.whole, within, sizes_in, total, sizes)
                            for s in range(0, resamples, DRAWS)])  # fmt: skip
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return low, high


def _draw(
    rng: np.random.Generator, draws: int, prompts: int, whole: bool,
    within: Array, sizes_in: Array, total: Array, sizes: Array,
) -> Array:  # fmt: skip
    """delta (draws, h) of resampled prompts; a draw without rows inside, or outside, has none and counts as 0."""
    picked = rng.integers(0, prompts, (draws, prompts))
    weight = np.stack([np.bincount(p, minlength=prompts) for p in picked]).astype(np.float64)
    inside, n_in = weight @ within, weight @ sizes_in
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_in = inside / n_in
        mean_out = 0.0 if whole else (weight @ total - inside) / (weight @ sizes - n_in)
    return np.nan_to_num(mean_in - mean_out, posinf=0.0, neginf=0.0)


def at_equal_length(family: Family, context: int, response: int) -> Effect:
    """delta at equal difference in log length with a cluster-robust interval."""
    inside = np.asarray(family.contexts.member[context].toarray()).ravel()
    y = np.asarray(family.values[:, response], dtype=np.float64)
    return adjusted_effect(y, None if family.whole else inside, family.length_gap, family.contexts.cluster)


def interval(value: float, low: float, high: float) -> Interval:
    """At the precision that an audit is written with, and never without the value itself."""
    numbers = (value, min(low, value), max(high, value))
    return Interval(**{k: float(f"{v:.6g}") for k, v in zip(("value", "low", "high"), numbers, strict=True)})
