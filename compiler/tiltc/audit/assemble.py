"""From tests to hypotheses: which are reported, with everything that a reader needs to judge them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from tiltc.audit.examples import Album, pick
from tiltc.audit.families import Family
from tiltc.audit.inside import Array, Ints
from tiltc.audit.intervals import at_equal_length, bootstrap, brief, interval
from tiltc.audit.model import Hypothesis, Test
from tiltc.audit.scale import Scale
from tiltc.fit import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Named:
    """Ids of a view's clusters and contexts, and the features of its clusters."""

    response: list[str]
    context: list[str]
    features: list[Ints]


def cluster_id(prefix: str, features: Ints) -> str:
    """A name that is the content: prefix and 12 hex digits of the sha256 of the ascending feature ids."""
    return f"{prefix}-{sha256(','.join(str(int(f)) for f in np.sort(features)).encode()).hexdigest()[:12]}"


def rows_id(prefix: str, row_ids: Sequence[str]) -> str:
    return f"{prefix}-{sha256(chr(10).join(sorted(row_ids)).encode()).hexdigest()[:12]}"


def strongest(family: Family, most: int) -> tuple[Ints, Ints]:
    """The tests that are reported, strongest first: half of them by delta_min among those that pass the filters, which is
    the paper's default, and half by the evidence against chance. Over the whole data set, which the paper does not rank,
    the first half goes by delta at equal length: there most of what differs is that one side is longer."""
    size = np.abs(family.at_equal_length) if family.whole else family.delta_min
    by_size = np.where(family.passes, size, -1.0).ravel()
    by_score = np.abs(family.result.score).ravel()
    half = most // 2
    chosen = [*np.argsort(-by_size, kind="stable")[:half], *np.argsort(-by_score, kind="stable")[:half]]
    unique = np.array(sorted({int(c) for c in chosen}, key=lambda c: (-by_size[c], -by_score[c], c)), np.int64)
    m = family.values.shape[1]
    return unique // m, unique % m


@dataclass(frozen=True)
class Judged:
    """q (k, m) of a family's tests, what noise reaches for the reported ones (h,), and their deltas under a plan."""

    q: Array
    noise: Array
    planned: Array | None


def hypotheses(
    family: Family, at: tuple[Ints, Ints], judged: Judged, named: Named, album: Album, scale: Scale
) -> list[Hypothesis]:
    low, high = bootstrap(family, at, scale.resamples, scale.seed)
    return [
        _hypothesis(family, (int(k), int(m)), (low[i], high[i]), i, judged, named, album)
        for i, (k, m) in enumerate(zip(*at, strict=True))
    ]


def _hypothesis(
    family: Family, at: tuple[int, int], ends: tuple[float, float], i: int, judged: Judged, named: Named, album: Album
) -> Hypothesis:
    found, response = family.result, int(family.response[at[1]])
    context = None if family.whole else named.context[family.context[at[0]]]
    delta = float(found.delta[at])
    controlled = at_equal_length(family, *at).interval
    test = Test(
        delta=interval(delta, *ends),
        delta_length=rounded(controlled),
        delta_difference=brief(family.at_equal_difference[at]),
        d=brief(found.d[at]),
        z=brief(found.z[at]),
        p=brief(found.p[at]),
        q=brief(judged.q[at]),
        delta_min=brief(family.delta_min[at]),
        agrees=bool(family.agrees[at]),
        noise=brief(judged.noise[i]),
        planned=None if judged.planned is None else brief(judged.planned[i]),
    )
    inside = family.contexts.member[at[0]].indices
    values = np.asarray(family.values[:, at[1]], dtype=np.float64)
    rows = pick(values, np.sort(inside), float(np.sign(delta)), family.contexts.cluster)
    features = named.features[response]
    return Hypothesis(
        id=f"{context or 'all'}:{named.response[response]}",
        view=family.view,
        context=context,
        response=named.response[response],
        rows=len(inside),
        mean_inside=brief(found.mean_in[at]),
        mean_outside=brief(found.mean_out[at]),
        test=test,
        passes=bool(family.passes[at]),
        examples=tuple(album.example(int(family.rows[r]), values[r], features) for r in rows),
    )


def planned_deltas(family: Family, at: tuple[Ints, Ints], weight: Array) -> Array:
    """delta (h,) of the reported tests with rows weighted as the plan's first step does; `weight` is (n,)."""
    return family.measure(weight[family.rows]).delta[at]
