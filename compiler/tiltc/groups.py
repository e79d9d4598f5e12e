"""Groups of SAE features: scoring texts with one, and finding groups that the data itself holds together."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage

from tiltc.plan import Discovered, Group, Member

Array = npt.NDArray[np.float64]

#: a feature takes part in discovery when it fires in this share of responses
FIRES_IN = (0.02, 0.90)
#: at most this many features, the ones whose firing varies most, and this many groups
MOST_FEATURES, MOST_GROUPS = 768, 64
#: the activation at which a feature counts as fully on: this quantile of its nonzero maxima
FULL_AT = 0.9


def count_texts(activations: sparse.csc_matrix) -> int:
    """Number of texts."""
    return int(cast("tuple[int, int]", activations.shape)[0])


def width(activations: sparse.csc_matrix) -> int:
    """Number of features."""
    return int(cast("tuple[int, int]", activations.shape)[1])


def scales(activations: sparse.csc_matrix, features: npt.NDArray[np.int64]) -> Array:
    """Activation (k,) at which each feature counts as fully on; 1 for a feature that never fires."""
    out = np.ones(len(features))
    for i, feature in enumerate(features):
        values = activations.data[activations.indptr[feature] : activations.indptr[feature + 1]]
        positive = values[values > 0]
        if len(positive):
            out[i] = float(np.quantile(positive, FULL_AT))
    return out


def saturate(activations: sparse.csc_matrix, features: npt.NDArray[np.int64], scale: Array) -> Array:
    """min(max activation / scale, 1), dense (n, k)."""
    return np.minimum(np.asarray(activations[:, features].todense(), dtype=np.float64) / scale, 1.0)


def group_score(group: Group, activations: sparse.csc_matrix) -> Array:
    """Standardised score (n,) of texts from their max activations (n, F). The formula is `plan.Group`'s."""
    features = np.array([m.feature for m in group.members], dtype=np.int64)
    scale = np.array([m.scale for m in group.members])
    weight = np.array([m.weight for m in group.members])
    return (saturate(activations, features, scale) @ weight - group.mean) / group.sd


def make_group(features: npt.NDArray[np.int64], weight: Array, activations: sparse.csc_matrix) -> Group:
    """A group with its scales and moments taken from `activations` (n, F), both responses of all pairs."""
    scale = scales(activations, features)
    raw = saturate(activations, features, scale) @ weight
    members = tuple(
        Member(feature=int(f), weight=_round(w), scale=_round(s))
        for f, w, s in zip(features, weight, scale, strict=True)
    )
    return Group(members=members, mean=_round(float(raw.mean())), sd=_round(max(float(raw.std()), 1e-6)))


def _round(value: float) -> float:
    """Seven significant digits: plans are compared as bytes, and the last bits differ between BLAS builds."""
    return float(f"{value:.7g}")


def discover(activations: sparse.csc_matrix) -> tuple[Discovered, ...]:
    """Groups of features that fire in the same responses: average linkage on 1 - phi of binarised firing."""
    shape = (count_texts(activations), width(activations))
    fired = sparse.csc_matrix((activations.data > 0, activations.indices, activations.indptr), shape)
    share = np.asarray(fired.astype(np.float64).mean(axis=0)).ravel()
    usable = np.flatnonzero((share >= FIRES_IN[0]) & (share <= FIRES_IN[1]))
    if len(usable) < 2:
        return ()
    spread = share[usable] * (1 - share[usable])
    chosen = np.sort(usable[np.argsort(-spread, kind="stable")[:MOST_FEATURES]])
    phi = _phi(sparse.csc_matrix(fired[:, chosen].astype(np.float64)), share[chosen])
    distance = np.round(1 - phi[np.triu_indices(len(chosen), 1)], 9)
    labels = fcluster(linkage(distance, "average"), min(MOST_GROUPS, len(chosen)), "maxclust")
    members = [chosen[labels == label] for label in np.unique(labels)]
    members.sort(key=lambda m: (-len(m), int(m[0])))
    return tuple(
        Discovered(name=f"group-{i:02d}", group=make_group(m, np.full(len(m), 1 / len(m)), activations))
        for i, m in enumerate(members)
    )


def _phi(fired: sparse.csc_matrix, share: Array) -> Array:
    """Pearson correlation of the firing indicators (k, k)."""
    together = np.asarray((fired.T @ fired).todense()) / count_texts(fired)
    sd = np.sqrt(share * (1 - share))
    return np.clip((together - np.outer(share, share)) / np.outer(sd, sd), -1, 1)
