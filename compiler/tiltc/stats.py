"""Pure numbers: effects, intervals, AUROC, multiplicity. No threshold and no choice lives here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from tiltc.plan import Interval

Array = npt.NDArray[np.float64]
Z95 = 1.959963984540054
#: bootstrap resamples behind every forecast interval
RESAMPLES = 1000


@dataclass(frozen=True)
class Effect:
    """A mean with its cluster-robust 95% interval and two-sided p-value against zero."""

    interval: Interval
    se: float
    p: float


def auroc(scores: Array, labels: npt.NDArray[np.bool_]) -> Interval:
    """AUROC with DeLong's 95% interval, formed on the logit scale so that it stays inside (0, 1).

    Args:
        scores: (n,) higher means more of the concept.
        labels: (n,) true where the concept is present.

    Raises:
        ValueError: when one of the classes is empty.
    """
    positives, negatives = scores[labels], scores[~labels]
    n, m = len(positives), len(negatives)
    if not n or not m:
        raise ValueError("AUROC needs both classes")
    ranks = sps.rankdata(np.concatenate([positives, negatives]))
    area = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    above = (ranks[:n] - sps.rankdata(positives)) / m
    below = 1 - (ranks[n:] - sps.rankdata(negatives)) / n
    variance = (above.var(ddof=1) / n if n > 1 else 0.25) + (below.var(ddof=1) / m if m > 1 else 0.25)
    return _logit_interval(float(area), float(variance), min(n, m))


def _logit_interval(area: float, variance: float, smaller: int) -> Interval:
    # A perfect separation has no sampling variance of its own: half a rank of the smaller class stands in for it.
    clipped = min(max(area, 0.5 / (smaller + 1)), 1 - 0.5 / (smaller + 1))
    half = Z95 * max(variance, (0.5 / (smaller + 1)) ** 2) ** 0.5 / (clipped * (1 - clipped))
    centre = np.log(clipped / (1 - clipped))
    low, high = 1 / (1 + np.exp(-(centre - half))), 1 / (1 + np.exp(-(centre + half)))
    return Interval(value=area, low=float(min(low, area)), high=float(max(high, area)))


def clusters(groups: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Group names as consecutive integers, in order of the sorted names."""
    return np.unique(groups, return_inverse=True)[1]


def mean_effect(values: Array, cluster: npt.NDArray[np.int64]) -> Effect:
    """Mean of `values` (n,) with a standard error that lets rows of one cluster be correlated, and a score test's p.

    The interval's variance is about the mean, the test's about zero, where the null hypothesis puts it. About the mean a
    few rare rows that happen to agree in sign look certain, and more than 5% of label shuffles would find something.
    """
    ones = np.ones((len(values), 1))
    effect = _least_squares(ones, values, cluster)
    return Effect(effect.interval, effect.se, float(2 * sps.norm.sf(abs(score_z(values, cluster)))))


def score_z(values: Array, cluster: npt.NDArray[np.int64]) -> float:
    """Sum of `values` (n,) over the root of its clusters' summed squares: the cluster-robust score test of a mean of zero.

    0 where all values are. Exchanging chosen and rejected at random, a cluster at a time, gives it mean 0 and variance 1.
    """
    sums = np.bincount(cluster, weights=values)
    spread = float(np.sqrt(sums @ sums))
    return float(sums.sum()) / spread if spread > 0 else 0.0


def length_controlled_effect(gaps: Array, length_gaps: Array, cluster: npt.NDArray[np.int64]) -> Effect:
    """Mean gap at equal length: the intercept of a regression of the gap on the gap in log tokens."""
    spread = length_gaps.std()
    design = np.column_stack([np.ones(len(gaps)), length_gaps / spread if spread > 0 else np.zeros(len(gaps))])
    return _least_squares(design[:, : 1 + (spread > 0)], gaps, cluster)


def adjusted_effect(y: Array, inside: Array | None, length_gaps: Array, cluster: npt.NDArray[np.int64]) -> Effect:
    """Difference of y (n,) between the rows inside and the others at equal gap in log tokens; without `inside`, the mean."""
    if inside is None:
        return length_controlled_effect(y, length_gaps, cluster)
    spread = length_gaps.std()
    columns = [inside, np.ones(len(y)), *([length_gaps / spread] if spread > 0 else [])]
    return _least_squares(np.column_stack(columns), y, cluster)


def _least_squares(design: Array, y: Array, cluster: npt.NDArray[np.int64]) -> Effect:
    """First coefficient of least squares with the cluster-robust sandwich (Liang and Zeger, CR1)."""
    n, k = design.shape
    bread = np.linalg.pinv(design.T @ design)
    beta = bread @ design.T @ y
    residuals = y - design @ beta
    score = np.column_stack([np.bincount(cluster, weights=column * residuals) for column in design.T])
    used = int((np.bincount(cluster) > 0).sum())
    small_sample = used / max(used - 1, 1) * (n - 1) / max(n - k, 1)
    se = float(np.sqrt((bread @ (score.T @ score) @ bread)[0, 0] * small_sample))
    value = float(beta[0])
    t = sps.t.ppf(0.975, max(used - 1, 1))
    p = float(2 * sps.t.sf(abs(value) / se, max(used - 1, 1))) if se > 0 else (1.0 if value == 0 else 0.0)
    return Effect(Interval(value=value, low=value - float(t) * se, high=value + float(t) * se), se, p)


def benjamini_hochberg(p: Array) -> Array:
    """Adjusted p-values (q) over everything tested."""
    return np.asarray(sps.false_discovery_control(p), dtype=np.float64) if len(p) else p


def bootstrap_means(contributions: Array, cluster: npt.NDArray[np.int64], seed: int) -> tuple[Array, Array]:
    """95% percentile interval of the column means of `contributions` (n, c), resampling clusters.

    Returns:
        low (c,) and high (c,).
    """
    n_clusters = int(cluster.max()) + 1
    sums = np.zeros((n_clusters, contributions.shape[1]))
    np.add.at(sums, cluster, contributions)
    sizes = np.bincount(cluster, minlength=n_clusters).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty((RESAMPLES, contributions.shape[1]))
    for start in range(0, RESAMPLES, 100):  # in blocks: a thousand draws of 260,000 clusters would be 2 GB
        drawn = rng.integers(0, n_clusters, (100, n_clusters))
        counts = np.stack([np.bincount(d, minlength=n_clusters) for d in drawn]).astype(np.float64)
        means[start : start + 100] = (counts @ sums) / (counts @ sizes)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def halves(groups: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """Half A of the rows, decided by the group's hash: rows of one prompt are never split."""
    return np.array([int(g[:8], 16) % 2 == 0 for g in groups], dtype=bool)
