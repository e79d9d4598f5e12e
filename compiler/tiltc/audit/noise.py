"""How large could chance make this? The same tests with chosen and rejected exchanged at random, prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiltc.audit.families import Family, against_zero
from tiltc.audit.inside import Array, Bools, Ints
from tiltc.audit.rows import Rows
from tiltc.audit.scale import Scale
from tiltc.stats import benjamini_hochberg

#: values that the swaps of one audit may look at in all: minutes on two cores
WORK = 1.5e10
FEWEST_SWAPS = 20
ALPHA = 0.05


@dataclass(frozen=True)
class Swaps:
    """What r label swaps did.

    Attributes:
        z, delta: per family, (r,) largest |score z| and largest |delta|.
        found: per family, (r,) tests at q < 0.05, with q over everything.
        reported: per family, (r, h) |delta| of the reported tests.
        concepts: (r, c) |mean gap| of the library concepts.
        any: (r,) tests at q < 0.05 in all, concepts included.
    """

    z: list[Array]
    delta: list[Array]
    found: list[Array]
    reported: list[Array]
    concepts: Array
    any: Array


def adjusted_parts(p: Sequence[Array]) -> list[Array]:
    """q over everything, in the parts that p came in."""
    return np.split(benjamini_hochberg(np.concatenate(p)), np.cumsum([len(part) for part in p])[:-1])


def swaps_for(families: Sequence[Family], scale: Scale) -> int:
    work = sum(float(f.values.size) * 3 for f in families)
    return int(max(FEWEST_SWAPS, min(scale.most_swaps, WORK / max(work, 1.0))))


def swap(
    families: Sequence[Family], concepts: tuple[Array, Ints], rows: Rows, sample: Bools,
    reported: Sequence[tuple[Ints, Ints]], count: int, seed: int,
) -> Swaps:  # fmt: skip
    """Exchange labels `count` times.

    Args:
        concepts: gaps (g, c) of library concepts on the sampled rows, one more family, and the cluster (g,) of each.
        reported: per family the (context, response) places whose delta is kept.
    """
    rng = np.random.default_rng(seed)
    out = _empty(families, concepts[0].shape[1], [len(r[0]) for r in reported], count)
    for round_ in range(count):
        # a prompt's rows are exchanged together: they may be repeats of each other
        sign = rng.choice([-1.0, 1.0], int(rows.cluster.max()) + 1)[rows.cluster]
        results = [f.measure(sign[f.rows]) for f in families]
        extra = against_zero((concepts[0] * sign[sample][:, None]).astype(np.float32), concepts[1])
        out.concepts[round_] = np.abs(extra.delta).ravel()
        q = adjusted_parts([*(r.p.ravel() for r in results), extra.p.ravel()])
        for i, result in enumerate(results):
            out.z[i][round_] = np.abs(result.score).max(initial=0)
            out.delta[i][round_] = np.abs(result.delta).max(initial=0)
            out.found[i][round_] = (q[i] < ALPHA).sum()
            out.reported[i][round_] = np.abs(result.delta[reported[i]])
        out.any[round_] = sum(int((part < ALPHA).sum()) for part in q)
    return out


def _empty(families: Sequence[Family], concepts: int, reported: Sequence[int], count: int) -> Swaps:
    z, delta, found = ([np.zeros(count) for _ in families] for _ in range(3))
    return Swaps(
        z, delta, found, [np.zeros((count, h)) for h in reported], np.zeros((count, concepts)), np.zeros(count)
    )
