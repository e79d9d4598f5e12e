"""Communities of features that fire in the same texts (paper section 4.4): mutual information, top edges, Leiden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.audit.rows import shape
from tiltc.audit.scale import Scale

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: features whose co-firing is counted at a time
BLOCK = 512
#: what a dense multiply-add costs against a sparse one
DENSE_GAIN = 300.0


@dataclass(frozen=True)
class Edges:
    """Weighted undirected edges between features (e,), each once, `first` < `second`."""

    first: Ints
    second: Ints
    weight: Array


@dataclass(frozen=True)
class Counts:
    """How often each feature fires in so many texts. Counts are whole numbers, so p log p comes from a table."""

    fires: Ints
    texts: int

    @cached_property
    def table(self) -> Array:
        """p log p (texts + 1,) in nats for p = 0, 1/texts, ..., 1"""
        p = np.arange(self.texts + 1) / self.texts
        return np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0.0)

    @cached_property
    def entropy(self) -> Array:
        """(F,) of each firing indicator, in nats"""
        return -(self.table[self.fires] + self.table[self.texts - self.fires])

    def information(self, first: Ints, second: Ints, together: Ints) -> Array:
        """Mutual information of two firing indicators over the geometric mean of their entropies (paper section 4.4)."""
        one, other, t = self.fires[first], self.fires[second], self.table
        neither = self.texts - one - other + together
        joint = t[together] + t[one - together] + t[other - together] + t[neither]
        h, g = self.entropy[first], self.entropy[second]
        # rounded, so that pairs of equal counts are ties whatever the order of additions
        return np.round(np.maximum(joint + h + g, 0.0) / np.sqrt(h * g), 12)


def cofiring(fired: sparse.csr_matrix, share: float, most_degree: int) -> Edges:
    """The top `share` of all feature pairs by normalised information, among pairs that fire together more than chance.

    Args:
        fired: (texts, F) nonzero where the feature fires. Every feature must fire on some texts and not on all.
        most_degree: at most so many edges a feature on average: beyond some 10,000 features, 1% of all pairs is more
            than any community needs and more than memory holds.
    """
    features = shape(fired)[1]
    wanted = min(int(np.ceil(share * features * (features - 1) / 2)), most_degree * features // 2)
    kept = Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    for block in _blocks(fired):
        kept = _joined(kept, block)
        if len(kept.weight) > 2 * max(wanted, 1 << 20):
            kept = _top(kept, wanted)
    return _top(kept, wanted)


def communities(edges: Edges, features: int, scale: Scale) -> list[Ints]:
    """Leiden communities, those above `most_members` split again by themselves; the largest first, members ascending."""
    graph = sparse.coo_matrix((edges.weight, (edges.first, edges.second)), shape=(features, features))
    whole = sparse.csr_matrix(graph + graph.T)
    todo, done = [np.arange(features)], list[Ints]()
    while todo:
        group = todo.pop()
        parts = _leiden(sparse.csr_matrix(whole[group][:, group]), scale)
        parts = [group[p] for p in parts if len(p) >= scale.fewest_members]
        done += [p for p in parts if len(p) <= scale.most_members or len(p) == len(group)]
        todo += [p for p in parts if len(p) > scale.most_members and len(p) < len(group)]
    return sorted((np.sort(g) for g in done), key=lambda g: (-len(g), int(g[0])))


def _leiden(graph: sparse.csr_matrix, scale: Scale) -> list[Ints]:
    """Communities of a symmetric graph by modularity, as places of its nodes."""
    from graspologic_native import leiden_csr  # type: ignore[attr-defined]

    graph.sort_indices()
    nodes = shape(graph)[0]
    parts = (graph.indptr.astype(np.int64), graph.indices.astype(np.int32), graph.data.astype(np.float64))
    _, place = leiden_csr(
        *parts, nodes, resolution=scale.resolution, iterations=2, seed=scale.seed, use_modularity=True
    )
    label = np.array([place[i] for i in range(nodes)], dtype=np.int64)
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _blocks(fired: sparse.csr_matrix) -> Iterator[Edges]:
    """Candidate edges, a block of first features at a time."""
    texts, features = shape(fired)
    ones = sparse.csr_matrix((np.ones(fired.nnz, np.float32), fired.indices, fired.indptr), fired.shape)
    columns = ones.tocsc()
    counts = Counts(np.diff(columns.indptr).astype(np.int64), texts)
    dense = ones.toarray() if _dense_pays(ones) else None
    for start in range(0, features, BLOCK):
        stop = min(start + BLOCK, features)
        if dense is not None:
            product = dense[:, start:stop].T @ dense[:, start:]
            first, second = np.nonzero(product)
            together = np.asarray(product[first, second])
        else:
            found = sparse.coo_matrix(columns[:, start:stop].T @ ones[:, start:])
            first, second, together = found.row, found.col, np.asarray(found.data, np.float32)
        yield _candidates(first.astype(np.int64) + start, second.astype(np.int64) + start, together, counts)


def _dense_pays(ones: sparse.csr_matrix) -> bool:
    texts, features = shape(ones)
    sparse_cost = float((np.diff(ones.indptr).astype(np.float64) ** 2).sum())
    return texts * features * 4 < 2e9 and texts * float(features) ** 2 < DENSE_GAIN * sparse_cost


def _candidates(first: Ints, second: Ints, together: npt.NDArray[np.float32], counts: Counts) -> Edges:
    """Pairs that fire together more than chance, in the upper triangle."""
    seen = together.astype(np.int64)
    more = (first < second) & (seen * counts.texts > counts.fires[first] * counts.fires[second])
    first, second, seen = first[more], second[more], seen[more]
    return Edges(first, second, counts.information(first, second, seen))


def _joined(one: Edges, other: Edges) -> Edges:
    first, second = np.concatenate([one.first, other.first]), np.concatenate([one.second, other.second])
    return Edges(first, second, np.concatenate([one.weight, other.weight]))


def _top(edges: Edges, wanted: int) -> Edges:
    """The `wanted` heaviest edges; ties at the end are all kept, so that no order of features decides."""
    if len(edges.weight) <= wanted:
        return edges
    least = np.partition(edges.weight, len(edges.weight) - wanted)[len(edges.weight) - wanted]
    heavy = edges.weight >= least
    return Edges(edges.first[heavy], edges.second[heavy], edges.weight[heavy])
