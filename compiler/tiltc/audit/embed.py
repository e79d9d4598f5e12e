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
    _, s, vt = _decomposed(sample, mean, sd, k, seed)
    return unit((s[:k, None] * vt[:k]).T.astype(np.float32))


def row_embeddings(rows: sparse.csr_matrix, components: int, seed: int) -> Floats:
    """Unit embeddings (g, c) of rows (g, F) by the same decomposition, features standardised over these rows."""
    mean = np.asarray(rows.mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(np.asarray(rows.multiply(rows).mean(axis=0)).ravel() - mean**2, 0))
    sd = np.where(sd > 1e-6, sd, np.inf)  # a feature that never changes tells no rows apart
    u, s, _ = _decomposed(rows, mean, sd, components, seed)
    return unit((u * s)[:, :components].astype(np.float32))


def _decomposed(rows: sparse.csr_matrix, mean: Array, sd: Array, k: int, seed: int) -> tuple[Array, Array, Array]:
    """U (g, c), S (c,), V^T (c, F) of the standardised rows; the first k of c are accurate."""
    scaled = sparse.csr_matrix(rows.astype(np.float32) @ sparse.diags((1 / sd).astype(np.float32)))
    shift = (mean / sd).astype(np.float32)
    basis = _range(scaled, shift, min(k + EXTRA, *cast("tuple[int, int]", rows.shape)), seed)
    u, s, vt = np.linalg.svd(_back(scaled, shift, basis).T.astype(np.float64), full_matrices=False)
    return np.asarray(basis @ u, dtype=np.float64), s, vt


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
