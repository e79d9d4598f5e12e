"""Spherical k-means: rows on the unit sphere, centroids renormalised (paper section 4.7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
ROUNDS = 25
#: it ends when no more than this share of the rows changes its cluster
SETTLED = 0.0005
#: rows from which starting centroids are drawn
START_ROWS = 20_000
#: rows compared with all centroids at a time
ROWS = 16_384


@dataclass(frozen=True)
class Clustering:
    """label (n,) int64, similarity (n,) to the own centroid, centroids (k, d). Every cluster has a row."""

    label: npt.NDArray[np.int64]
    similarity: Floats
    centroids: Floats


def unit(rows: Floats) -> Floats:
    """Rows at length 1; zero rows stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(length, 1e-12)).astype(np.float32)


def spherical_kmeans(rows: Floats, k: int, seed: int) -> Clustering:
    """Cluster unit rows (n, d) by cosine into at most k clusters."""
    centroids = _start(rows, min(k, len(rows)), np.random.default_rng(seed))
    label, similarity = _nearest(rows, centroids)
    for _ in range(ROUNDS):
        centroids = _means(rows, label, centroids)
        moved, similarity = _nearest(rows, centroids)
        changed = int((moved != label).sum())
        label = moved
        if changed <= SETTLED * len(rows):
            break
    used, label = np.unique(label, return_inverse=True)
    return Clustering(label.astype(np.int64), similarity, centroids[used])


def _start(rows: Floats, k: int, rng: np.random.Generator) -> Floats:
    """k-means++ on the sphere: the next centroid is drawn with probability 1 - cosine to the nearest so far."""
    pool = rows if len(rows) <= START_ROWS else rows[rng.choice(len(rows), START_ROWS, replace=False)]
    chosen = [int(rng.integers(len(pool)))]
    distance = np.full(len(pool), np.inf)
    while len(chosen) < k:
        distance = np.minimum(distance, np.maximum(1.0 - pool @ pool[chosen[-1]], 0.0))
        distance[chosen] = 0.0
        total = float(distance.sum())
        if total <= 1e-9:
            break
        chosen.append(int(np.searchsorted(np.cumsum(distance), rng.random() * total).clip(0, len(pool) - 1)))
    return pool[chosen].copy()


def _nearest(rows: Floats, centroids: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    label, similarity = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), ROWS):
        cosine = rows[start : start + ROWS] @ centroids.T
        at = cosine.argmax(1)
        label[start : start + ROWS] = at
        similarity[start : start + ROWS] = cosine[np.arange(len(at)), at]
    return label, similarity


def _means(rows: Floats, label: npt.NDArray[np.int64], centroids: Floats) -> Floats:
    """Sum of each cluster's rows, renormalised; an emptied cluster keeps its centroid."""
    from scipy import sparse

    ones = np.ones(len(rows), np.float32)
    member = sparse.csr_matrix((ones, (label, np.arange(len(rows)))), shape=(len(centroids), len(rows)))
    sums = member @ rows
    return np.where(np.abs(sums).sum(1, keepdims=True) > 0, unit(sums), centroids).astype(np.float32)
