"""Residuals of token spans -> SAE features per span: what fired, how much, how often, and where it peaked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from tiltc_runtime.sae import Sae

Tensor = torch.Tensor

#: Bytes of dense SAE output at a time.
CPU_DENSE, CUDA_DENSE = 1 << 26, 1 << 30
#: Largest number that float16 holds.
LARGEST = 65504.0
#: Response tokens per reading on which the SAE's reconstruction is measured.
SAMPLE = 512


@dataclass
class Sparse:
    """Features per span as CSR: indptr (n + 1), indices, max activation, token count and peak token (nnz)."""

    indptr: np.ndarray
    indices: np.ndarray
    max: np.ndarray
    count: np.ndarray
    #: place of the max activation among the span's tokens, tokens that enter no figure counted too; the first on ties
    peak: np.ndarray

    def matrix(self, values: np.ndarray, features: int) -> csr_matrix:
        shape = (len(self.indptr) - 1, features)
        return csr_matrix((values.astype(np.float32), self.indices.astype(np.int32), self.indptr), shape=shape)


@dataclass
class Moments:
    """Sums over a sample of response tokens: what the SAE leaves unexplained, and how many features fire."""

    tokens: int = 0
    fired: int = 0
    error: float = 0.0
    variance: float = 0.0


class Spans:
    """Reduces residuals of token spans to features per span, on the device; only what fired leaves it."""

    def __init__(self, sae: Sae, spans: int, *, pool: bool = False) -> None:
        self.sae, self.pool, self.spans = sae, pool, spans
        self.features: dict[int, tuple[np.ndarray, ...]] = {}
        self.residuals = np.zeros((spans if pool else 0, sae.config.d_in), dtype=np.float32)
        self.bad: set[int] = set()
        self.moments = Moments()
        #: figures of tokens that begin every span, and how many they are
        self.begun: tuple[_Reduced, int] | None = None

    @torch.inference_mode()
    def begin(self, residuals: Tensor, *, skip: int = 0) -> None:
        """Take in residuals (T, d) of tokens that begin every span added from now on."""
        self.begun = self._reduced(residuals[None], [(0, 0, skip, len(residuals))], skip), len(residuals)

    @torch.inference_mode()
    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]], *, skip: int = 0) -> None:
        """Take in residuals (rows, T, d); row i holds the tokens start to stop of span `index`, after those that it
        began with. The first `skip` tokens of a span enter no figure."""
        skip = 0 if self.begun else skip
        rows = [(row, index, at + skip, stop) for row, (index, at, stop) in enumerate(spans) if stop > at + skip]
        if not rows:
            return
        self._keep([index for _, index, _, _ in rows], self._reduced(residuals, rows, skip))
        if self.pool:
            self._pool(residuals, rows)

    def sparse(self, order: Sequence[int]) -> Sparse:
        """The spans in the given order; spans without tokens are empty."""
        nothing = tuple(np.zeros(0, kind) for kind in (np.uint32, np.float32, np.uint16, np.uint16))
        rows = [self.features.get(index, nothing) for index in order]
        pointers = np.concatenate([[0], np.cumsum([len(r[0]) for r in rows])]).astype(np.int64)
        return Sparse(pointers, *(np.concatenate([nothing[k], *(r[k] for r in rows)]) for k in range(4)))

    def _reduced(self, residuals: Tensor, rows: Sequence[tuple[int, int, int, int]], skip: int) -> _Reduced:
        """The figures of every row's span."""
        reduced, first = _Reduced.empty(len(rows), self.sae.threshold), skip
        if self.begun:
            reduced, first = self.begun[0].repeated(len(rows)), self.begun[1]
        for pieces in _pieces(rows, self._dense_tokens(residuals.device)):
            dense = self.sae.preactivations(torch.cat([residuals[row, a:b] for _, row, a, b in pieces]))
            parts = dense.split([b - a for _, _, a, b in pieces])
            for (span, _, start, _), part in zip(pieces, parts, strict=True):
                reduced.take(span, part, start - rows[span][2] + first)
        return reduced

    def _dense_tokens(self, device: torch.device) -> int:
        limit = CUDA_DENSE if device.type == "cuda" else CPU_DENSE
        return max(limit // (4 * self.sae.config.d_sae), 1)

    def _keep(self, indices: list[int], reduced: _Reduced) -> None:
        wrong = ~torch.isfinite(reduced.most).all(1) | (reduced.most > LARGEST).any(1)
        self.bad.update(indices[i] for i in wrong.nonzero().flatten().tolist())
        spans, features = (reduced.count > 0).nonzero(as_tuple=True)
        ends = torch.bincount(spans, minlength=len(indices)).cumsum(0).tolist()
        columns = (
            features.cpu().numpy().astype(np.uint32),
            reduced.most[spans, features].cpu().numpy(),
            *(
                t[spans, features].clamp(max=65535).cpu().numpy().astype(np.uint16)
                for t in (reduced.count, reduced.peak)
            ),
        )
        for index, start, stop in zip(indices, [0, *ends], ends, strict=False):
            self.features[index] = tuple(column[start:stop] for column in columns)

    def _pool(self, residuals: Tensor, rows: Sequence[tuple[int, int, int, int]]) -> None:
        means = torch.stack([residuals[row, a:b].float().mean(0) for row, _, a, b in rows]).cpu().numpy()
        for (_, index, _, _), mean in zip(rows, means, strict=True):
            self.residuals[index] = mean
            if not np.isfinite(mean).all() or np.abs(mean).max() > LARGEST:
                self.bad.add(index)
        if self.moments.tokens == 0:
            sample = torch.cat([residuals[row, a:b] for row, _, a, b in rows])[:SAMPLE].float()
            self.moments = _moments(self.sae, sample)


@dataclass
class _Reduced:
    """Per span and feature, all (spans, F): max preactivation (at least 0), firing count, token of the max."""

    most: Tensor
    count: Tensor
    peak: Tensor
    #: (F,)
    threshold: Tensor

    @classmethod
    def empty(cls, spans: int, threshold: Tensor) -> _Reduced:
        shape = (spans, len(threshold))
        most, peak = (torch.zeros(shape, device=threshold.device) for _ in range(2))
        return cls(most, torch.zeros(shape, dtype=torch.int32, device=threshold.device), peak, threshold)

    def repeated(self, spans: int) -> _Reduced:
        """A single span's figures as those of several, on their own."""
        most, count, peak = (t.repeat(spans, 1) for t in (self.most, self.count, self.peak))
        return _Reduced(most, count, peak, self.threshold)

    def take(self, span: int, dense: Tensor, first: int) -> None:
        """Take in preactivations (T, F) of the span's tokens from number `first` on. Overwrites them."""
        top = dense.amax(0)
        self.count[span] += (dense > self.threshold).view(torch.uint8).sum(0, dtype=torch.int32)
        # tokens are numbered from the end, so that the first of equals wins; argmax over columns is far slower on CPU
        left = torch.arange(len(dense), 0, -1, dtype=dense.dtype, device=dense.device)
        place = first + len(dense) - dense.eq_(top).mul_(left[:, None]).amax(0)
        self.peak[span] = torch.where(top > self.most[span], place, self.peak[span])
        torch.maximum(self.most[span], top, out=self.most[span])


def _pieces(rows: Sequence[tuple[int, int, int, int]], limit: int) -> list[list[tuple[int, int, int, int]]]:
    """Spans cut so that every group has at most `limit` tokens: groups of (span, row, start, stop)."""
    groups: list[list[tuple[int, int, int, int]]] = [[]]
    room = limit
    for span, (row, _, start, stop) in enumerate(rows):
        while start < stop:
            if room == 0:
                groups.append([])
                room = limit
            take = min(room, stop - start)
            groups[-1].append((span, row, start, start + take))
            start, room = start + take, room - take
    return groups


def _moments(sae: Sae, x: Tensor) -> Moments:
    activations, x = sae.encode(x), sae.seen(x)
    error = (x - sae.decode(activations)).double().pow(2).sum()
    variance = (x - x.mean(0)).double().pow(2).sum()
    return Moments(len(x), int((activations > 0).sum()), float(error), float(variance))
