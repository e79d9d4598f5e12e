"""The usable rows of evidence as numbers, walked shard by shard: memory is bounded by clusters, not by features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.stats import clusters, halves

if TYPE_CHECKING:
    from tiltc.evidence import Evidence, Shard

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
SpanName = Literal["prompt", "chosen", "rejected"]


@dataclass(frozen=True)
class Rows:
    """The n usable rows, in the order of their ids, so that the data's order decides nothing.

    Attributes:
        place: (N,) place in that order of every row of the evidence; -1 where it is not usable.
        cluster: (n,) rows of one prompt share a number.
        half: (n,) half A.
        tokens: (n,) tokens read, by span.
        length_gap: (n,) log tokens of chosen minus log tokens of rejected.
    """

    row_ids: tuple[str, ...]
    place: Ints
    cluster: Ints
    half: Bools
    tokens: dict[str, Array]
    length_gap: Array

    @property
    def n(self) -> int:
        return len(self.row_ids)

    @property
    def origin(self) -> Ints:
        """(n,) row of the evidence."""
        out = np.empty(self.n, np.int64)
        usable = np.flatnonzero(self.place >= 0)
        out[self.place[usable]] = usable
        return out

    def sample(self, most: int) -> Bools:
        """(n,) at most so many rows, evenly spaced: ids are hashes, so their order is as good as random."""
        keep = np.zeros(self.n, dtype=bool)
        keep[spaced(self.n, most)] = True
        return keep


def spaced(n: int, most: int) -> Ints:
    """At most so many places of n, evenly spaced, first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(most, n)).astype(np.int64)) if n else np.zeros(0, np.int64)


def read_rows(evidence: Evidence) -> Rows:
    table = evidence.table
    ids = np.array(table.column("row_id").to_pylist(), dtype=object)
    usable = np.flatnonzero(evidence.ok)
    ordered = usable[np.argsort(ids[usable].astype(str), kind="stable")] if len(usable) else usable
    place = np.full(len(ids), -1, np.int64)
    place[ordered] = np.arange(len(ordered))
    groups = np.array(table.column("group").to_pylist())[ordered]
    tokens = {s: np.asarray(table.column(f"{s}_tokens"), np.float64)[ordered] for s in ("prompt", "chosen", "rejected")}
    gap = np.log((tokens["chosen"] + 1) / (tokens["rejected"] + 1))
    return Rows(tuple(ids[ordered]), place, clusters(groups), halves(groups), tokens, gap)


@dataclass(frozen=True)
class Block:
    """One shard's usable rows: where they go among the n rows, and their features."""

    to: Ints
    shard: Shard
    local: Ints

    def matrix(self, span: SpanName, kind: Literal["max", "count"]) -> sparse.csr_matrix:
        """(rows, F) float32"""
        return sparse.csr_matrix(self.shard.matrix(span, kind)[self.local])


def blocks(evidence: Evidence, rows: Rows) -> Iterator[Block]:
    start = 0
    for pin, shard in zip(evidence.manifest.shards, evidence.shards, strict=True):
        place = rows.place[start : start + pin.rows]
        local = np.flatnonzero(place >= 0)
        if len(local):
            yield Block(place[local], shard, local)
        start += pin.rows


def membership(groups: list[Ints], features: int, weight: Array | None = None) -> sparse.csr_matrix:
    """(F, m) with `weight` (F,), or 1, where the feature belongs to the group."""
    feature = np.concatenate([*groups, np.zeros(0, np.int64)])
    group = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    values = np.ones(len(feature)) if weight is None else weight[feature]
    return sparse.csr_matrix((values.astype(np.float32), (feature, group)), shape=(features, len(groups)))


#: the two responses of a pair, with the sign that each adds to a difference
SIDES: tuple[tuple[SpanName, float], ...] = (("chosen", 1.0), ("rejected", -1.0))


def shape(matrix: sparse.csr_matrix) -> tuple[int, int]:
    return cast("tuple[int, int]", matrix.shape)


def grouped(matrix: object, member: sparse.csr_matrix) -> Floats:
    """Dense (n, m) sums of a sparse (n, F) over the groups of a membership (F, m)."""
    return np.asarray(sparse.csr_matrix(sparse.csr_matrix(matrix) @ member).toarray(), dtype=np.float32)


def share_of_tokens(counts: sparse.csr_matrix, tokens: Array) -> sparse.csr_matrix:
    """Firing counts (n, F) as shares of the span's tokens (n,)."""
    return sparse.csr_matrix(sparse.diags((1 / np.maximum(tokens, 1)).astype(np.float32)) @ counts)


def stacked(parts: list[tuple[Ints, sparse.csr_matrix]]) -> sparse.csr_matrix:
    """Blocks of rows put in the order of their places."""
    matrix = sparse.csr_matrix(sparse.vstack([m for _, m in parts]))
    return sparse.csr_matrix(matrix[np.argsort(np.concatenate([to for to, _ in parts]), kind="stable")])
