"""Inside against outside: Welch's z and Cohen's d as in the paper (section 4.9), and p-values that hold on sparse,
repeated data.

The paper's z has two faults where thousands of things are tested. Rows share prompts, and its variance is estimated
inside: a small context whose few nonzero rows agree has almost none. So p comes from the score test of "inside has the
mean of outside", with the variance about that mean and rows of one prompt summed first:

    score z = delta / sqrt( sum_g (sum_{i in g, inside} (y_i - mean_out))^2 / n_in^2  +  the same outside )

Under exchange of chosen and rejected its tails are no heavier than normal at any sample size. Terms between the inside
and the outside rows of one prompt are left out, which can only make it smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy import stats as sps

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: columns of values worked on at a time
COLUMNS = 64


@dataclass(frozen=True)
class Contrasts:
    """Everything about k contexts and m statistics, each (k, m)."""

    mean_in: Array
    mean_out: Array
    #: Welch's z with independent rows, and d with the pooled sd: the paper's
    z: Array
    d: Array
    #: cluster-robust score z, from which p follows
    score: Array

    @property
    def delta(self) -> Array:
        return self.mean_in - self.mean_out

    @property
    def p(self) -> Array:
        return np.asarray(2 * sps.norm.sf(np.abs(self.score)), dtype=np.float64)


@dataclass(frozen=True)
class Contexts:
    """k sets of the n rows as a 0/1 matrix (k, n); sets may overlap. `cluster` (n,): rows of one prompt share a number."""

    member: sparse.csr_matrix
    cluster: Ints

    @cached_property
    def shape(self) -> tuple[int, int]:
        return cast("tuple[int, int]", self.member.shape)

    @cached_property
    def sizes(self) -> Array:
        return np.diff(self.member.indptr).astype(np.float64)

    @cached_property
    def independent(self) -> bool:
        """Every row has a prompt of its own."""
        return len(np.unique(self.cluster)) == self.shape[1]

    @cached_property
    def _memberships(self) -> tuple[Ints, Ints, Ints]:
        """(context, row, place of the (prompt, context) combination) of every membership."""
        k, _ = self.shape
        context = np.repeat(np.arange(k), np.diff(self.member.indptr))
        row = self.member.indices.astype(np.int64)
        place = np.unique(self.cluster[row] * k + context, return_inverse=True)[1]
        return context, row, place.astype(np.int64)

    @cached_property
    def prompts(self) -> sparse.csr_matrix:
        """(prompts, n) incidence."""
        return _incidence(self.cluster, np.arange(len(self.cluster)), len(self.cluster))

    @cached_property
    def combinations(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix, Ints]:
        """Rows of each (prompt, context) combination (c, n), combinations of each context (k, c), prompt of each (c,)."""
        context, row, place = self._memberships
        rows = _incidence(place, row, self.shape[1])
        first = np.unique(place, return_index=True)[1]
        return (
            rows,
            _incidence(context[first], np.arange(len(first)), len(first), self.shape[0]),
            self.cluster[row[first]],
        )


def _incidence(group: Ints, item: Ints, items: int, groups: int | None = None) -> sparse.csr_matrix:
    shape = (int(group.max()) + 1 if groups is None else groups, items)
    return sparse.csr_matrix((np.ones(len(item)), (group, item)), shape=shape)


def partition(label: Ints, cluster: Ints, k: int) -> Contexts:
    """Contexts from a label per row; rows with a negative label are in none."""
    inside = np.flatnonzero(label >= 0)
    return Contexts(_incidence(label[inside], inside, len(label), k), cluster)


def contrast(values: npt.NDArray[np.floating], contexts: Contexts) -> Contrasts:
    """Compare the rows of each context with all other rows.

    Args:
        values: (n, m) the statistic of every row.
    """
    blocks = [_block(np.asarray(values[:, at], dtype=np.float64), contexts) for at in columns(values.shape[1])]
    return Contrasts(*(np.concatenate(part, axis=1) for part in zip(*blocks, strict=True)))


def columns(m: int) -> Iterator[slice]:
    return (slice(start, min(start + COLUMNS, m)) for start in range(0, m, COLUMNS))


def _block(y: Array, contexts: Contexts) -> tuple[Array, Array, Array, Array, Array]:
    n_in = contexts.sizes[:, None]
    n = len(y)
    n_out = n - n_in
    sums, squares = contexts.member @ y, contexts.member @ y**2
    all_sums, all_squares = y.sum(0), (y**2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_in, mean_out = sums / n_in, (all_sums - sums) / n_out
        var_in = (squares - n_in * mean_in**2) / (n_in - 1)
        var_out = (all_squares - squares - n_out * mean_out**2) / (n_out - 1)
        pooled = ((n_in - 1) * var_in + (n_out - 1) * var_out) / (n - 2)
        delta = mean_in - mean_out
        z = delta / np.sqrt(var_in / n_in + var_out / n_out)
        d = delta / np.sqrt(pooled)
        inside, outside = _about(mean_out, y, contexts)
        score = delta / np.sqrt(inside / n_in**2 + outside / n_out**2)
    return mean_in, mean_out, _finite(z), _finite(d), _finite(score)


def _finite(x: Array) -> Array:
    """0 where there is no variance to judge by."""
    return np.where(np.isfinite(x), x, 0.0)


def _about(mean: Array, y: Array, contexts: Contexts) -> tuple[Array, Array]:
    """Sums over prompts of squared sums about `mean` (k, m), of the rows inside and of those outside."""
    if contexts.independent:
        inside = _square(contexts.member @ y**2, contexts.member @ y, contexts.sizes[:, None], mean)
        both = _square((y**2).sum(0), y.sum(0), float(len(y)), mean)
        return inside, np.maximum(both - inside, 0.0)
    rows, of_context, prompt = contexts.combinations
    whole, b = (contexts.prompts @ y)[prompt], rows @ y
    sizes = np.asarray(contexts.prompts.sum(1))
    c, d = sizes[prompt], np.asarray(rows.sum(1))
    inside = _square(of_context @ b**2, of_context @ (d * b), of_context @ d**2, mean)
    # outside: all prompts, corrected for those that have rows inside
    totals = contexts.prompts @ y
    both = _square((totals**2).sum(0), (sizes * totals).sum(0), float((sizes**2).sum()), mean)
    rest, left = whole - b, c - d
    less = _square(
        of_context @ (whole**2 - rest**2), of_context @ (c * whole - left * rest), of_context @ (c**2 - left**2), mean
    )
    return inside, np.maximum(both - less, 0.0)


def _square(squares: Array, products: Array, sizes: Array | float, mean: Array) -> Array:
    """sum (a - s mean)^2 from sum a^2, sum s a and sum s^2."""
    return squares - 2 * mean * products + mean**2 * sizes


def halves(values: npt.NDArray[np.floating], contexts: Contexts, first: Bools) -> tuple[Array, Array]:
    """delta (k, m) within each half of the rows, with the same contexts (paper section 4.10).

    Halves are made by prompt, where the paper takes even and odd rows: rows of one prompt are never split.
    """
    return tuple(_delta(values[at], contexts.member[:, at]) for at in (np.flatnonzero(first), np.flatnonzero(~first)))  # type: ignore[return-value]


def _delta(values: npt.NDArray[np.floating], member: sparse.csr_matrix) -> Array:
    n_in = np.asarray(member.sum(1))
    sums = np.asarray(member @ values, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _finite(sums / n_in - (values.sum(0, dtype=np.float64) - sums) / (len(values) - n_in))


def length_controlled(values: npt.NDArray[np.floating], contexts: Contexts, length_gap: Array) -> Array:
    """delta (k, m) at equal gap in log length: the coefficient of "inside" in y ~ 1 + inside + length gap."""
    return adjusted(values, contexts, np.broadcast_to(length_gap[:, None], values.shape))


def adjusted(values: npt.NDArray[np.floating], contexts: Contexts, covariate: npt.NDArray[np.floating]) -> Array:
    """delta (k, m) at equal covariate (n, m): the coefficient of "inside" in y ~ 1 + inside + covariate, by column."""
    n_in = contexts.sizes[:, None]
    n_out = len(values) - n_in
    out: list[Array] = []
    for at in columns(values.shape[1]):
        y, x = (np.asarray(part[:, at], dtype=np.float64) for part in (values, covariate))
        x = x - x.mean(0)
        y_in, y_out = _sums(contexts, y)
        x_in, x_out = _sums(contexts, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            within_xx = (x * x).sum(0) - x_in**2 / n_in - x_out**2 / n_out
            within_xy = (x * y).sum(0) - x_in * y_in / n_in - x_out * y_out / n_out
            slope = np.where(within_xx > 1e-9, within_xy / within_xx, 0.0)
            out.append(y_in / n_in - y_out / n_out - slope * (x_in / n_in - x_out / n_out))
    return np.concatenate(out, axis=1)


def _sums(contexts: Contexts, y: Array) -> tuple[Array, Array]:
    """Sums (k, m) inside and outside."""
    inside = contexts.member @ y
    return inside, y.sum(0) - inside
