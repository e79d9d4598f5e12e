"""Which concept of the library a cluster's activity detects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from tiltc import stats
from tiltc.audit.model import Nearest

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: texts with and without the concept, lower end of the 95% interval, clusters that are ranked at once
FEWEST, LEAST, BLOCK = 10, 0.6, 128


def nearest(
    scores: npt.NDArray[np.floating[Any]], presence: Mapping[str, Bools], top: int = 3
) -> list[tuple[Nearest, ...]]:
    """Each cluster's nearest concepts, the best detected first.

    Args:
        scores: (docs, clusters) activity.
        presence: (docs,) where each concept is shown.
    """
    names = [name for name, shown in sorted(presence.items()) if FEWEST <= shown.sum() <= len(shown) - FEWEST]
    if not names:
        return [() for _ in range(scores.shape[1])]
    shown = np.stack([presence[name] for name in names])
    out: list[tuple[Nearest, ...]] = []
    for start in range(0, scores.shape[1], BLOCK):
        block = scores[:, start : start + BLOCK].astype(np.float64)
        areas = areas_of(block, shown)
        out += [_best(block[:, j], areas[:, j], names, shown, top) for j in range(block.shape[1])]
    return out


def areas_of(scores: Array, shown: Bools) -> Array:
    """(concepts, clusters) AUROC by the rank sum of Mann and Whitney: docs x clusters and concepts x docs in one product."""
    positives = shown.sum(1, dtype=np.float64)[:, None]
    ranks = sps.rankdata(scores, axis=0)
    least = positives * (positives + 1) / 2
    return (shown.astype(np.float64) @ ranks - least) / (positives * (scores.shape[0] - positives))


def _best(scores: Array, areas: Array, names: list[str], shown: Bools, top: int) -> tuple[Nearest, ...]:
    found: list[Nearest] = []
    for i in np.argsort(-areas, kind="stable"):
        if len(found) == top or areas[i] <= LEAST:
            break
        interval = stats.auroc(scores, shown[i])
        if interval.low > LEAST:
            found.append(Nearest(concept=names[i], auroc=interval))
    return tuple(found)
