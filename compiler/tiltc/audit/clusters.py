"""The clusters of an audit by their ids, so that a spec may name one: `audit: g-1f0c9a62b3d4`.

An id is the hash of the features, so it names the same features everywhere or nothing at all. Clusters follow from the
evidence, so nothing but the evidence is needed to find one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from tiltc.audit.assemble import cluster_id
from tiltc.audit.feature_view import feature_clusters
from tiltc.audit.prompt_view import prompt_view
from tiltc.audit.rows import Ints, read_rows
from tiltc.audit.scale import scaled
from tiltc.derived import Derived

if TYPE_CHECKING:
    from tiltc.evidence import Evidence


class Clusters(BaseModel):
    """Features by cluster id, and for prompt clusters the least share of them that fires on a row of the audit's context."""

    features: dict[str, tuple[int, ...]]
    threshold: dict[str, float]


def audit_clusters(evidence: Evidence, derived: Derived, prefix: str) -> Clusters:
    """The clusters whose ids begin with `g` (feature view), or `d` and `p` (prompt view)."""
    kind = "feature" if prefix == "g" else "prompt"
    return derived.model(
        ["audit-clusters", kind], Clusters, lambda: _of_feature(evidence) if prefix == "g" else _of_prompt(evidence)
    )


def _of_feature(evidence: Evidence) -> Clusters:
    rows = read_rows(evidence)
    groups = feature_clusters(evidence, rows, scaled(rows.n))
    return Clusters(features={cluster_id("g", g): _plain(g) for g in groups}, threshold={})


def _of_prompt(evidence: Evidence) -> Clusters:
    rows = read_rows(evidence)
    view = prompt_view(evidence, rows, scaled(rows.n))
    named = {cluster_id("d", g): g for g in view.responses} | {cluster_id("p", g): g for g in view.prompts}
    least = {
        cluster_id("p", g): float(view.c[view.selected[k], k].min(initial=np.inf)) for k, g in enumerate(view.prompts)
    }
    kept = {key: value for key, value in least.items() if np.isfinite(value)}
    return Clusters(features={key: _plain(g) for key, g in named.items()}, threshold=kept)


def _plain(features: Ints) -> tuple[int, ...]:
    return tuple(int(f) for f in features)
