"""Feature embeddings: standardised rows, randomised SVD, columns of S V^T at length 1 (paper section 5.4)."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.audit.spherical import unit

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
#: extra directions and power iterations of the range finder (Halko, Martinsson, Tropp 2011, algorithm 4.4)
EXTRA, POWER = 10, 2


def embed(sample: sparse.csr_matrix, mean: Array, sd: Array, components: int, seed: int) -> Floats:
    """Unit embeddings (F, c) of the columns of Z = (sample - mean) / sd, without ever forming Z.

    Args:
        sample: (g, F) rows; mean, sd: (F,).
    """
    rows, features = cast("tuple[int, int]", sample.shape)
    k = min(components, rows, features)
    scaled = sparse.csr_matrix(sample.astype(np.float32) @ sparse.diags((1 / sd).astype(np.float32)))
    shift = (mean / sd).astype(np.float32)
    basis = _range(scaled, shift, min(k + EXTRA, rows, features), seed)
    _, s, vt = np.linalg.svd(_back(scaled, shift, basis).T.astype(np.float64), full_matrices=False)
    return unit((s[:k, None] * vt[:k]).T.astype(np.float32))


def row_embeddings(rows: sparse.csr_matrix, components: int, seed: int) -> Floats:
    """Unit embeddings (g, c) of rows (g, F) by the same decomposition, features standardised over these rows."""
    g, features = cast("tuple[int, int]", rows.shape)
    mean = np.asarray(rows.mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(np.asarray(rows.multiply(rows).mean(axis=0)).ravel() - mean**2, 0))
    sd = np.where(sd > 1e-6, sd, np.inf)  # a feature that never changes tells no rows apart
    scaled = sparse.csr_matrix(rows.astype(np.float32) @ sparse.diags((1 / sd).astype(np.float32)))
    shift = (mean / sd).astype(np.float32)
    basis = _range(scaled, shift, min(components + EXTRA, g, features), seed)
    u, s, _ = np.linalg.svd(_back(scaled, shift, basis).T.astype(np.float64), full_matrices=False)
    return unit(((basis @ u) * s)[:, :components].astype(np.float32))


def _range(z: sparse.csr_matrix, shift: Floats, size: int, seed: int) -> Floats:
    """Orthonormal columns (g, size) that span what Z does."""
    features = cast("tuple[int, int]", z.shape)[1]
    start = np.random.default_rng(seed).standard_normal((features, size)).astype(np.float32)
    basis = np.linalg.qr(_forth(z, shift, start))[0]
    for _ in range(POWER):
        inner = np.linalg.qr(_back(z, shift, basis))[0]
        basis = np.linalg.qr(_forth(z, shift, inner))[0]
    return basis


def _forth(z: sparse.csr_matrix, shift: Floats, right: Floats) -> Floats:
    """Z right"""
    return np.asarray(z @ right - (shift @ right)[None, :], dtype=np.float32)


def _back(z: sparse.csr_matrix, shift: Floats, left: Floats) -> Floats:
    """Z^T left"""
    return np.asarray(z.T @ left - np.outer(shift, left.sum(0)), dtype=np.float32)
