"""The feature-conditioned view: response concept -> where is it rewarded? (paper section 4)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.audit.graph import cofiring, communities
from tiltc.audit.rows import (
    SIDES,
    Array,
    Bools,
    Floats,
    Ints,
    Rows,
    blocks,
    grouped,
    membership,
    shape,
    share_of_tokens,
    stacked,
)
from tiltc.audit.scale import Scale
from tiltc.audit.spherical import Clustering, spherical_kmeans, unit

if TYPE_CHECKING:
    from tiltc.evidence import Evidence


@dataclass(frozen=True)
class FeatureView:
    """m response clusters T, n rows.

    Attributes:
        groups: the features of each cluster.
        s: (n, m) symmetric activity, by which rows are clustered.
        u: (n, m) the tested statistic, in [-1, 1].
        label: (n,) data cluster of every row; -1 in the silent bucket.
        clustering: of the active rows.
    """

    groups: list[Ints]
    s: Floats
    u: Floats
    label: Ints
    clustering: Clustering
    expressed: dict[str, Array]

    @property
    def active(self) -> Bools:
        return self.label >= 0


def feature_view(evidence: Evidence, rows: Rows, scale: Scale) -> FeatureView:
    groups = feature_clusters(evidence, rows, scale)
    s, u, expressed = project(evidence, rows, groups, scale.tau)
    active = heard(s, scale.silent)
    clustering = spherical_kmeans(unit(s[active]), scale.data_clusters, scale.seed)
    label = np.full(rows.n, -1, np.int64)
    label[active] = clustering.label
    return FeatureView(groups, s, u, label, clustering, expressed)


def feature_clusters(evidence: Evidence, rows: Rows, scale: Scale) -> list[Ints]:
    """Communities T_m of features that fire in the same responses, on a sample of the data itself (section 4.4).

    The paper takes them from the SAE's training corpus, which a user of tiltc does not have.
    """
    keep = rows.sample(scale.geometry_rows // 3)
    parts: list[tuple[Ints, sparse.csr_matrix]] = []
    for block in blocks(evidence, rows):
        inside = keep[block.to]
        for span, _ in SIDES:
            parts.append((block.to[inside], sparse.csr_matrix(block.matrix(span, "count")[inside])))
    fired = stacked(parts)
    texts, features = shape(fired)
    counts = np.bincount(fired.indices, minlength=features)
    varied = np.flatnonzero((counts >= min(scale.fires_in, texts // 2)) & (counts < texts))
    if len(varied) < 2:
        return []
    edges = cofiring(sparse.csr_matrix(fired[:, varied]), scale.edges, scale.most_degree)
    found = communities(edges, len(varied), scale)
    return [varied[members] for members in found]


def project(evidence: Evidence, rows: Rows, groups: list[Ints], tau: float) -> tuple[Floats, Floats, dict[str, Array]]:
    """s (n, m) and u (n, m) of section 4.5, and per side the share of rows on which any member passes tau (m,)."""
    member = membership(groups, evidence.manifest.sae.features)
    s, u = np.zeros((rows.n, len(groups)), np.float32), np.zeros((rows.n, len(groups)), np.float32)
    expressed = {side: np.zeros(len(groups)) for side in ("chosen", "rejected")}
    size = np.array([len(g) for g in groups], np.float32)
    for block in blocks(evidence, rows):
        for side, sign in SIDES:
            share = share_of_tokens(block.matrix(side, "count"), rows.tokens[side][block.to])
            s[block.to] += grouped(share, member)
            share.data = (share.data > tau).astype(np.float32)
            passed = grouped(share, member)
            u[block.to] += sign * passed / size
            expressed[side] += (passed > 0).sum(0)
    return s, u, {side: total / max(rows.n, 1) for side, total in expressed.items()}


def heard(s: Floats, silent: float) -> npt.NDArray[np.bool_]:
    """(n,) rows outside of the silent bucket: |s| at or above its `silent` quantile, and not zero (section 4.6)."""
    length = np.linalg.norm(s, axis=1)
    return (length >= np.quantile(length, silent)) & (length > 0) if len(length) else np.zeros(0, bool)
