"""Places on a map: similar things near each other, nothing on top of anything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
ROUNDS = 60


def places(profiles: npt.NDArray[np.floating]) -> Array:
    """(k, 2) in [0, 1]: the first two principal components of unit profiles (k, d), ranked half way and pushed apart."""
    k = len(profiles)
    if k < 3:
        return np.column_stack([np.linspace(0.3, 0.7, k), np.full(k, 0.5)]) if k else np.zeros((0, 2))
    x = np.asarray(profiles, dtype=np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    x = x - x.mean(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    xy = (u * s)[:, :2] if len(s) > 1 else np.column_stack([u[:, 0], np.zeros(k)])
    xy = xy * np.sign(
        xy[np.abs(xy).argmax(0), [0, 1]]
    )  # the sign of a component means nothing: the largest is positive
    spread = (xy - xy.min(0)) / np.maximum(np.ptp(xy, axis=0), 1e-12)
    ranks = np.argsort(np.argsort(xy, axis=0, kind="stable"), axis=0, kind="stable") / max(k - 1, 1)
    return _apart(0.5 * spread + 0.5 * ranks)


def _apart(xy: Array) -> Array:
    """Push points away from near neighbours, a little at a time."""
    least = 0.6 / np.sqrt(len(xy))
    for _ in range(ROUNDS):
        away = xy[:, None] - xy[None]
        distance = np.maximum(np.linalg.norm(away, axis=2), 1e-9)
        push = np.maximum(least - distance, 0) / distance
        np.fill_diagonal(push, 0)
        xy = np.clip(xy + 0.25 * (away * push[:, :, None]).sum(1), 0, 1)
    return np.round(xy, 4)
