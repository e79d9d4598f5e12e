"""How much more often a term is said inside than outside, and how far chance alone gets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: the prior is a tenth of all texts: enough that a rare term must recur before it counts
PRIOR = 0.1
#: a term that is in one or two distinct texts is their accident
FEWEST = 3
#: sets of texts drawn at random for each size: what the best of them reaches is passed by chance once in 101 times
DRAWS = 100


def log_odds_z(inside: Array, every: Array, inside_total: float, every_total: float) -> Array:
    """z-scores of the log-odds ratio, inside against outside, with an informative Dirichlet prior.

    Monroe, Colaresi and Quinn (2008), equations 16, 20 and 22. The prior is `PRIOR` times the counts of all texts.

    Args:
        inside: (V,) texts inside that have the term.
        every: (V,) texts that have the term.
        inside_total, every_total: their sums over all terms.
    """
    prior, prior_total = PRIOR * every, PRIOR * every_total
    a, b = inside + prior, np.maximum(every - inside, 0) + prior
    a_total, b_total = inside_total + prior_total, every_total - inside_total + prior_total
    delta = np.log(a / (a_total - a)) - np.log(b / (b_total - b))
    return delta / np.sqrt(1 / a + 1 / b)


@dataclass(frozen=True)
class Counts:
    """In how many distinct texts the terms are.

    Attributes:
        weighted: (docs, V) the weight of a text where it has a term.
        every: (V,) its sum over the texts.
        order: (docs,) the texts by what they say, so that draws don't depend on the order in which they came.
    """

    weighted: sparse.csr_matrix
    every: Array
    order: Ints

    def scores(self, inside: sparse.csr_matrix) -> list[tuple[Ints, Array]]:
        """For each row of (clusters, docs): the terms (t,) that enough of its texts have, and their z."""
        counts = sparse.csr_matrix(sparse.csr_matrix(inside, dtype=np.float32) @ self.weighted)
        counts.sort_indices()
        indptr, indices, data = np.asarray(counts.indptr), np.asarray(counts.indices), np.asarray(counts.data)
        return [
            self._scored(indices[a:b].astype(np.int64), data[a:b].astype(np.float64))
            for a, b in itertools.pairwise(indptr)
        ]

    def _scored(self, columns: Ints, inside: Array) -> tuple[Ints, Array]:
        z = log_odds_z(inside, self.every[columns], float(inside.sum()), float(self.every.sum()))
        enough = inside > FEWEST - 0.5
        return columns[enough], z[enough]

    def by_chance(self, sizes: Sequence[int]) -> Array:
        """(clusters,) the largest z of any term in any of `DRAWS` random sets of at least as many texts."""
        near = [_rounded_up(size, len(self.order)) for size in sizes]
        reached = {size: self._reached(size) for size in sorted(set(near))}
        return np.array([reached[size] for size in near])

    def _reached(self, size: int) -> float:
        rng = np.random.default_rng(size)
        docs = [self.order[rng.choice(len(self.order), size, replace=False)] for _ in range(DRAWS)]
        shape = (DRAWS, len(self.order))
        drawn = sparse.csr_matrix((np.ones(DRAWS * size), np.concatenate(docs), np.arange(DRAWS + 1) * size), shape)
        return max(float(z.max(initial=0.0)) for _, z in self.scores(drawn))


def _rounded_up(size: int, most: int) -> int:
    """The next of 0, 1, 2, 3, 4, 6, 8, 12, 16, ...: few sizes to draw for, and larger sets reach further, not less far."""
    step = 1 << max(size - 1, 0).bit_length()
    return min(step * 3 // 4 if size <= step * 3 // 4 else step, most)
