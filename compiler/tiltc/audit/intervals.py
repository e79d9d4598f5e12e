"""Bootstrap intervals and length control for the tests that are reported."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from tiltc.audit.families import Family
from tiltc.audit.inside import Array, Ints
from tiltc.audit.rows import Floats
from tiltc.fit import rounded
from tiltc.plan import Interval
from tiltc.stats import Effect, adjusted_effect

#: draws made at a time, and tests whose sums are held at a time
DRAWS, TESTS = 100, 64


def bootstrap(family: Family, at: tuple[Ints, Ints], resamples: int, seed: int) -> tuple[Array, Array]:
    """95% percentile intervals (h,) of delta of the tests at (context, response) places, resampling prompts."""
    sums = _sums(family, at)
    rng = np.random.default_rng(seed)
    sizes = [min(DRAWS, resamples - start) for start in range(0, resamples, DRAWS)]
    draws = np.concatenate([_draw(rng, size, family.whole, *sums) for size in sizes])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return low, high


def _sums(family: Family, at: tuple[Ints, Ints]) -> tuple[Floats, Floats, Floats, Floats]:
    """Per prompt: sums of the values inside and number of rows inside, both (prompts, h), and the same of all rows."""
    cluster = family.contexts.cluster
    prompts, n, h = int(cluster.max()) + 1, len(cluster), len(at[0])
    incidence = sparse.csr_matrix((np.ones(n, np.float32), (cluster, np.arange(n))), shape=(prompts, n))
    within, inside, total = (np.zeros((prompts, h), np.float32) for _ in range(3))
    for start in range(0, h, TESTS):
        part = slice(start, start + TESTS)
        member = np.asarray(family.contexts.member[at[0][part]].T.toarray(), dtype=np.float32)
        values = family.values[:, at[1][part]]
        within[:, part], inside[:, part] = incidence @ (member * values), incidence @ member
        total[:, part] = incidence @ values
    return within, inside, total, np.asarray(incidence.sum(1), dtype=np.float32)


def _draw(
    rng: np.random.Generator, draws: int, whole: bool, within: Floats, inside: Floats, total: Floats, sizes: Floats
) -> Array:
    """delta (draws, h) of resampled prompts; a draw without rows inside, or outside, has none and counts as 0."""
    prompts = len(sizes)
    picked = rng.integers(0, prompts, (draws, prompts))
    weight = np.stack([np.bincount(p, minlength=prompts) for p in picked]).astype(np.float32)
    y_in, n_in = weight @ within, weight @ inside
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_in = y_in / n_in
        mean_out = 0.0 if whole else (weight @ total - y_in) / (weight @ sizes - n_in)
    return np.nan_to_num(mean_in - mean_out, posinf=0.0, neginf=0.0).astype(np.float64)


def at_equal_length(family: Family, context: int, response: int) -> Effect:
    """delta at equal difference in log length with a cluster-robust interval."""
    inside = np.asarray(family.contexts.member[context].toarray()).ravel()
    y = np.asarray(family.values[:, response], dtype=np.float64)
    return adjusted_effect(y, None if family.whole else inside, family.length_gap, family.contexts.cluster)


def interval(value: float, low: float, high: float) -> Interval:
    """At the precision that an audit is written with, and never without the value itself."""
    return rounded(Interval(value=value, low=min(low, value), high=max(high, value)))


def brief(value: float) -> float:
    """The same for a single number."""
    return float(f"{value:.6g}")
