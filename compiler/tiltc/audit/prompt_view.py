"""The prompt-conditioned view: prompt concept -> which shift of responses? (paper section 5)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from tiltc.audit.embed import embed
from tiltc.audit.rows import Array, Floats, Ints, Rows, blocks, grouped, membership, stacked
from tiltc.audit.scale import Scale
from tiltc.audit.spherical import spherical_kmeans

if TYPE_CHECKING:
    from tiltc.evidence import Evidence

#: least spread and mean size of a difference, and the floor of a spread (sections 5.3 and 5.4)
LEAST_SD, LEAST_MEAN, FLOOR = 1e-3, 1e-4, 1e-6


@dataclass(frozen=True)
class Moments:
    """Per feature over all rows, each (F,): mean and sd (population) of the difference, rows on which it is retained."""

    mean: Array
    sd: Array
    size: Array
    response_rows: Array
    prompt_mean: Array
    prompt_sd: Array
    prompt_rows: Array


@dataclass(frozen=True)
class PromptView:
    """kp prompt clusters A, kr response-delta clusters R, n rows.

    Attributes:
        prompts, responses: the features of each cluster.
        c: (n, kp) share of the cluster's features that fire on the prompt.
        u: (n, kr) mean standardised difference, chosen minus rejected; not centred, which no contrast sees.
        selected: rows tested for each prompt cluster, those that express it most first.
    """

    prompts: list[Ints]
    responses: list[Ints]
    c: Floats
    u: Floats
    selected: list[Ints]


def prompt_view(evidence: Evidence, rows: Rows, scale: Scale) -> PromptView:
    moments = take_moments(evidence, rows)
    asked = np.flatnonzero(moments.prompt_rows >= scale.fires_in)
    asked = asked[moments.prompt_sd[asked] > LEAST_SD]  # a feature that never changes says nothing about a prompt
    moved = np.flatnonzero(retained(moments, scale.fires_in))
    keep = rows.sample(scale.geometry_rows)
    prompt_sample, delta_sample = sampled(evidence, rows, keep)
    prompts = _clusters(prompt_sample, asked, moments.prompt_mean, moments.prompt_sd, scale)
    responses = _clusters(delta_sample, moved, moments.mean, moments.sd, scale)
    c, u = scores(evidence, rows, prompts, responses, moments)
    return PromptView(prompts, responses, c, u, [select(c[:, k], scale.n_top) for k in range(len(prompts))])


def take_moments(evidence: Evidence, rows: Rows) -> Moments:
    features = evidence.manifest.sae.features
    sums = {name: np.zeros(features) for name in ("d", "dd", "size", "rows", "p", "pp", "asked")}
    for block in blocks(evidence, rows):
        chosen, rejected = block.matrix("chosen", "max"), block.matrix("rejected", "max")
        difference, either = sparse.csr_matrix(chosen - rejected), sparse.csr_matrix(chosen + rejected)
        _add(sums, "d", difference)
        _add(sums, "dd", difference.power(2))
        _add(sums, "size", abs(difference))
        sums["rows"] += np.bincount(either.indices[either.data > 0], minlength=features)
        prompt = block.matrix("prompt", "max")
        _add(sums, "p", prompt)
        _add(sums, "pp", prompt.power(2))
        sums["asked"] += np.bincount(prompt.indices[prompt.data > 0], minlength=features)
    mean, prompt_mean = sums["d"] / rows.n, sums["p"] / rows.n
    sd = np.sqrt(np.maximum(sums["dd"] / rows.n - mean**2, 0))
    prompt_sd = np.sqrt(np.maximum(sums["pp"] / rows.n - prompt_mean**2, 0))
    return Moments(mean, sd, sums["size"] / rows.n, sums["rows"], prompt_mean, prompt_sd, sums["asked"])


def _add(sums: dict[str, Array], name: str, matrix: sparse.csr_matrix) -> None:
    sums[name] += np.bincount(matrix.indices, weights=matrix.data, minlength=len(sums[name]))


def retained(moments: Moments, fires_in: int) -> np.ndarray:
    """(F,) response features that enter (section 5.3)."""
    return (moments.response_rows >= fires_in) & (moments.sd >= LEAST_SD) & (moments.size >= LEAST_MEAN)


def sampled(evidence: Evidence, rows: Rows, keep: np.ndarray) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Max activations on prompts, and differences of max activations, of the sampled rows (g, F)."""
    prompts: list[tuple[Ints, sparse.csr_matrix]] = []
    deltas: list[tuple[Ints, sparse.csr_matrix]] = []
    for block in blocks(evidence, rows):
        inside = keep[block.to]
        to = block.to[inside]
        prompts.append((to, sparse.csr_matrix(block.matrix("prompt", "max")[inside])))
        difference = block.matrix("chosen", "max")[inside] - block.matrix("rejected", "max")[inside]
        deltas.append((to, sparse.csr_matrix(difference)))
    return stacked(prompts), stacked(deltas)


def _clusters(sample: sparse.csr_matrix, features: Ints, mean: Array, sd: Array, scale: Scale) -> list[Ints]:
    """k-means on the features' embeddings; clusters of a few features are dropped, as in the other view."""
    if len(features) < 2:
        return []
    columns = sparse.csr_matrix(sample[:, features])
    vectors = embed(columns, mean[features], np.maximum(sd[features], FLOOR), scale.components, scale.seed)
    k = max(1, min(scale.clusters, len(features) // scale.fewest_features))
    label = spherical_kmeans(vectors, k, scale.seed).label
    groups = [features[label == j] for j in range(int(label.max()) + 1)]
    groups = [g for g in groups if len(g) >= scale.fewest_members]
    return sorted(groups, key=lambda g: (-len(g), int(g[0])))


def scores(
    evidence: Evidence, rows: Rows, prompts: list[Ints], responses: list[Ints], moments: Moments
) -> tuple[Floats, Floats]:
    """c (n, kp) and u (n, kr) of section 5.6, with rho(x) = 1[x > 0]."""
    features = evidence.manifest.sae.features
    asks = membership(prompts, features)
    moves = membership(responses, features, 1 / np.maximum(moments.sd, FLOOR))
    c, u = np.zeros((rows.n, len(prompts)), np.float32), np.zeros((rows.n, len(responses)), np.float32)
    for block in blocks(evidence, rows):
        fired = block.matrix("prompt", "max")
        fired.data = (fired.data > 0).astype(np.float32)
        c[block.to] = grouped(fired, asks)
        u[block.to] = grouped(block.matrix("chosen", "max") - block.matrix("rejected", "max"), moves)
    return c / _sizes(prompts), u / _sizes(responses)


def _sizes(groups: list[Ints]) -> Floats:
    return np.array([len(g) for g in groups], np.float32)


def select(c: Floats, n_top: int) -> Ints:
    """S: the rows that express a prompt cluster most, at most `n_top` and none that does not (section 5.7).

    Rows are in the order of their ids, so ties go by id.
    """
    order = np.argsort(-c, kind="stable")[:n_top]
    return order[c[order] > 0]
