"""What is tested, as families of (context, response cluster) pairs that share rows and a statistic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.audit.feature_view import FeatureView
from tiltc.audit.inside import (
    Array,
    Bools,
    Contexts,
    Contrasts,
    Ints,
    adjusted,
    contrast,
    halves,
    length_controlled,
    partition,
)
from tiltc.audit.prompt_view import PromptView
from tiltc.audit.rows import Floats, Rows
from tiltc.audit.scale import Scale

Name = Literal["feature", "prompt"]
#: least share of delta that must remain at equal difference
MORE_THAN_DIFFERENCE = 0.5
#: halves that differ from zero by less than this have no sign (paper section 4.10)
EPSILON = 1e-6


@dataclass(frozen=True)
class Family:
    """A view's tests: every context against every response cluster, on `n` rows.

    Attributes:
        view: which view, and so which statistic.
        rows: (n,) places among the usable rows.
        values: (n, m) the statistic.
        contexts: k sets of these rows; `context` and `response` are their places in the view.
        whole: the one context is the whole data set, tested against no preference.
    """

    view: Name
    whole: bool
    rows: Ints
    values: Floats
    contexts: Contexts
    context: Ints
    response: Ints
    half: Bools
    length_gap: Array

    @cached_property
    def result(self) -> Contrasts:
        return self.measure(np.ones(len(self.rows)))

    def measure(self, sign: Array) -> Contrasts:
        """The tests with rows multiplied by `sign` (n,)."""
        values = self.values * sign[:, None].astype(np.float32)
        return against_zero(values, self.contexts.cluster) if self.whole else contrast(values, self.contexts)

    @cached_property
    def halved(self) -> tuple[Array, Array]:
        if self.whole:
            return tuple(self.values[at].mean(0, dtype=np.float64)[None] for at in (self.half, ~self.half))  # type: ignore[return-value]
        return halves(self.values, self.contexts, self.half)

    @cached_property
    def agrees(self) -> Bools:
        """(k, m) the halves have the same sign."""
        a, b = self.halved
        return (np.abs(a) > EPSILON) & (np.abs(b) > EPSILON) & (np.sign(a) == np.sign(b))

    @cached_property
    def delta_min(self) -> Array:
        a, b = self.halved
        return np.minimum(np.abs(a), np.abs(b))

    @cached_property
    def at_equal_difference(self) -> Array:
        """(k, m) delta at equal |value|: is chosen favoured more often here, among pairs that differ as much?

        Data clusters are made of the activity of response clusters, so one may hold just the rows in which a behaviour
        occurs at all. Where the behaviour is favoured everywhere, delta is large there for no other reason.
        """
        if self.whole:
            return self.result.delta
        return adjusted(self.values, self.contexts, np.abs(self.values))

    @cached_property
    def passes(self) -> Bools:
        """(k, m) the halves agree and, in the feature view, delta is not only that pairs differ more in this context."""
        if self.whole or self.view == "prompt":
            return self.agrees
        delta = self.result.delta
        return self.agrees & (self.at_equal_difference * np.sign(delta) >= MORE_THAN_DIFFERENCE * np.abs(delta))

    @cached_property
    def at_equal_length(self) -> Array:
        """(k, m)"""
        if not self.whole:
            return length_controlled(self.values, self.contexts, self.length_gap)
        x = self.length_gap - self.length_gap.mean()
        slope = x @ self.values / max(float(x @ x), 1e-12)
        return (self.values.mean(0, dtype=np.float64) - slope * self.length_gap.mean())[None]


def against_zero(values: Floats, cluster: Ints) -> Contrasts:
    """Means (1, m) over all rows against zero, with the variance about zero, prompts summed first."""
    n, prompts = len(values), int(cluster.max()) + 1
    mean = values.mean(0, dtype=np.float64)
    sd = values.std(0, ddof=1, dtype=np.float64)
    incidence = sparse.csr_matrix((np.ones(n, np.float32), (cluster, np.arange(n))), shape=(prompts, n))
    spread = np.sqrt(((incidence @ values).astype(np.float64) ** 2).sum(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = (mean / (sd / np.sqrt(n)), mean / sd, mean * n / spread)
    z, d, score = (np.where(np.isfinite(part), part, 0.0)[None] for part in parts)
    return Contrasts(mean[None], np.zeros_like(mean)[None], z, d, score)


def feature_families(view: FeatureView, rows: Rows, scale: Scale) -> list[Family]:
    """The whole data set and every data cluster, for clusters of enough features and contexts of enough rows."""
    response = _large(view.groups, scale.fewest_features)
    if not len(response):
        return []
    active = np.flatnonzero(view.active)
    sizes = np.bincount(view.label[active], minlength=len(view.clustering.centroids))
    kept = np.flatnonzero(sizes >= scale.fewest_rows)
    renamed = np.full(len(sizes), -1, np.int64)
    renamed[kept] = np.arange(len(kept))
    label = renamed[view.label[active]]
    out = [_whole("feature", view.u, response, rows)]
    if len(kept):
        contexts = partition(label, _consecutive(rows.cluster[active]), len(kept))
        parts = (active, view.u[active][:, response], contexts, kept, response)
        out.append(Family("feature", False, *parts, rows.half[active], rows.length_gap[active]))
    return out


def prompt_families(view: PromptView, rows: Rows, scale: Scale) -> list[Family]:
    """The whole data set and every prompt cluster's most expressive rows."""
    response = _large(view.responses, scale.fewest_features)
    if not len(response):
        return []
    kept = np.array([k for k, s in enumerate(view.selected) if scale.fewest_rows <= len(s) < rows.n], np.int64)
    out = [_whole("prompt", view.u, response, rows)]
    if len(kept):
        sizes = [len(view.selected[k]) for k in kept]
        where = (np.repeat(np.arange(len(kept)), sizes), np.concatenate([view.selected[k] for k in kept]))
        member = sparse.csr_matrix((np.ones(sum(sizes)), where), shape=(len(kept), rows.n))
        contexts = Contexts(member, _consecutive(rows.cluster))
        parts = (np.arange(rows.n), view.u[:, response], contexts, kept, response)
        out.append(Family("prompt", False, *parts, rows.half, rows.length_gap))
    return out


def _whole(view: Name, values: Floats, response: Ints, rows: Rows) -> Family:
    everything = sparse.csr_matrix(np.ones((1, rows.n)))
    contexts = Contexts(everything, _consecutive(rows.cluster))
    parts = (np.arange(rows.n), values[:, response], contexts, np.array([-1]), response, rows.half, rows.length_gap)
    return Family(view, True, *parts)


def _large(groups: list[Ints], fewest: int) -> Ints:
    return np.array([m for m, g in enumerate(groups) if len(g) >= fewest], np.int64)


def _consecutive(cluster: Ints) -> Ints:
    return cast("npt.NDArray[np.int64]", np.unique(cluster, return_inverse=True)[1]).astype(np.int64)
