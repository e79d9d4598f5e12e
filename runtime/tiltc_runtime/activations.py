"""Texts -> SAE features per span and pooled residuals. Shared by harvest and verify."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import csr_matrix

from tiltc_runtime.loading import LoadedModel
from tiltc_runtime.pairs import Text
from tiltc_runtime.passes import Continuation, Ids, Run, Trunk, cache_agrees, run_shared, run_whole
from tiltc_runtime.sae import Sae
from tiltc_runtime.tokens import encode_response

Tensor = torch.Tensor

#: Bytes of dense SAE output at a time.
CPU_DENSE, CUDA_DENSE = 1 << 26, 1 << 30
#: Largest number that float16 holds.
LARGEST = 65504.0
#: Response tokens per reading on which the SAE's reconstruction is measured.
SAMPLE = 512


@dataclass
class Sparse:
    """Features per span as CSR: indptr (n + 1), indices, max activation and token count (nnz)."""

    indptr: np.ndarray
    indices: np.ndarray
    max: np.ndarray
    count: np.ndarray

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


@dataclass
class Reading:
    """What was read on P prompts and R responses. Spans that hold no usable number are listed in `bad_*`."""

    prompts: Sparse
    responses: Sparse
    #: (R, d) float32, mean over the response tokens
    residuals: np.ndarray
    bad_prompts: list[int]
    bad_responses: list[int]
    moments: Moments


@dataclass(frozen=True)
class TextReading:
    """Features of n responses: max activations and token counts (n, F), mean residuals (n, d), tokens (n,)."""

    max: csr_matrix
    counts: csr_matrix
    residuals: np.ndarray
    tokens: np.ndarray
    #: responses whose activations were not finite
    bad: list[int] = field(default_factory=list)


def read_texts(
    model: LoadedModel,
    sae: Sae,
    conversations: Sequence[tuple[Text, str]],
    *,
    max_length: int = 1024,
    budget: int | None = None,
) -> TextReading:
    """Read SAE features on responses.

    Args:
        conversations: (prompt, response); a text prompt is one user turn.
        max_length: prompt and response tokens together; what is beyond is not read, and a response whose prompt
            fills it has no tokens and no features.

    Raises:
        Refused: T516, the chat template refuses a conversation.
    """
    encoded = [encode_response(model.tokenizer, prompt, response, max_length) for prompt, response in conversations]
    reading = Reader(model, sae, budget).read([(e.prompt, e.responses) for e in encoded if e.responses])
    kept = np.array([bool(e.responses) for e in encoded], dtype=bool)
    residuals = np.zeros((len(encoded), sae.config.d_in), dtype=np.float32)
    residuals[kept] = reading.residuals
    pointers = np.zeros(len(encoded) + 1, dtype=np.int64)
    pointers[1:][kept] = np.diff(reading.responses.indptr)
    spread = Sparse(pointers.cumsum(), reading.responses.indices, reading.responses.max, reading.responses.count)
    tokens = np.array([len(e.responses[0]) if e.responses else 0 for e in encoded], dtype=np.int32)
    bad = [int(i) for i in np.flatnonzero(kept)[reading.bad_responses]] if reading.bad_responses else []
    matrices = (spread.matrix(spread.max, sae.config.d_sae), spread.matrix(spread.count, sae.config.d_sae))
    return TextReading(*matrices, residuals, tokens, bad)


class Reader:
    """Reads prompts and their responses through a model's trunk and an SAE."""

    def __init__(self, model: LoadedModel, sae: Sae, budget: int | None = None) -> None:
        self.sae, self.trunk = sae.to(model.device), Trunk(model, sae.hook, budget)
        self.shared: bool | None = None
        #: tokens read so far, padding not counted
        self.tokens = 0

    def read(self, items: Sequence[tuple[Ids, Sequence[Ids]]]) -> Reading:
        """Read (prompt, responses) items; results are in their order, responses flattened.

        Equal prompts are computed once. The first call checks that the architecture's cache can be shared.
        """
        prompts = list(dict.fromkeys(prompt for prompt, _ in items))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        flat = [(place[prompt], ids) for prompt, responses in items for ids in responses]
        responses = [Continuation(p, index, ids) for index, (p, ids) in enumerate(flat)]
        if self.shared is None:
            self.prepare(items)
        read, answers = _Spans(self.sae, len(prompts)), _Spans(self.sae, len(responses), pool=True)
        with_prompt = [r for r in responses if prompts[r.prompt]]
        without = [r for r in responses if not prompts[r.prompt]]
        self._run(prompts, with_prompt, run_shared if self.shared else run_whole, read, answers)
        self._run(prompts, without, run_whole, read, answers)
        order = [place[prompt] for prompt, _ in items]
        bad = [i for i, p in enumerate(order) if p in read.bad]
        self.tokens += sum(map(len, prompts)) + sum(len(r.ids) for r in responses)
        features = read.sparse(order), answers.sparse(range(len(responses)))
        return Reading(*features, answers.residuals, bad, sorted(answers.bad), answers.moments)

    def prepare(self, items: Sequence[tuple[Ids, Sequence[Ids]]]) -> None:
        """Decide from the longest and the shortest of these items whether prompts can be shared."""
        usable = sorted((i for i in items if i[0] and i[1]), key=lambda i: (len(i[0]) + len(i[1][0]), i[0]))
        if not usable:
            return
        ends = [usable[0], usable[-1]]
        responses = [Continuation(i, i, ids[0]) for i, (_, ids) in enumerate(ends)]
        self.shared = cache_agrees(self.trunk, [p for p, _ in ends], responses)
        if not self.shared:
            name = type(self.trunk.model).__name__
            print(f"{name} can't share prompts between responses: reading whole sequences", file=sys.stderr, flush=True)

    def _run(self, prompts: list[Ids], responses: list[Continuation], run: Run, read: _Spans, answers: _Spans) -> None:
        """Run on the prompts that these responses need. The first token of a sequence is a sink and is left out."""
        used = sorted({r.prompt for r in responses})
        local = {p: i for i, p in enumerate(used)}
        moved = [Continuation(local[r.prompt], r.index, r.ids) for r in responses]

        def on_prompt(x: Tensor, spans: Sequence[tuple[int, int, int]]) -> None:
            read.add(x, [(used[p], start + 1, stop) for p, start, stop in spans])

        def on_response(x: Tensor, spans: Sequence[tuple[int, int, int]]) -> None:
            skip = 0 if prompts[responses[0].prompt] else 1
            answers.add(x, [(r, start + skip, stop) for r, start, stop in spans])

        if responses:
            run(self.trunk, [prompts[p] for p in used], moved, on_prompt, on_response)


class _Spans:
    """Reduces residuals of token spans to features per span, on the device; only what fired leaves it."""

    def __init__(self, sae: Sae, spans: int, *, pool: bool = False) -> None:
        self.sae, self.pool, self.spans = sae, pool, spans
        self.features: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.residuals = np.zeros((spans if pool else 0, sae.config.d_in), dtype=np.float32)
        self.bad: set[int] = set()
        self.moments = Moments()

    @torch.inference_mode()
    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]]) -> None:
        """Take in residuals (rows, T, d); row i holds the tokens start to stop of span `index`."""
        rows = [(row, index, start, stop) for row, (index, start, stop) in enumerate(spans) if stop > start]
        if not rows:
            return
        most, count = self._reduced(residuals, rows)
        self._keep([index for _, index, _, _ in rows], most, count)
        if self.pool:
            self._pool(residuals, rows)

    def sparse(self, order: Sequence[int]) -> Sparse:
        """The spans in the given order; spans without tokens are empty."""
        nothing = (np.zeros(0, np.uint32), np.zeros(0, np.float32), np.zeros(0, np.uint16))
        rows = [self.features.get(index, nothing) for index in order]
        pointers = np.concatenate([[0], np.cumsum([len(r[0]) for r in rows])]).astype(np.int64)
        return Sparse(pointers, *(np.concatenate([nothing[k], *(r[k] for r in rows)]) for k in range(3)))

    def _reduced(self, residuals: Tensor, rows: Sequence[tuple[int, int, int, int]]) -> tuple[Tensor, Tensor]:
        """Max preactivation (at least 0) and firing count per span, both (spans, F)."""
        shape = (len(rows), self.sae.config.d_sae)
        most, count = torch.zeros(shape, device=residuals.device), torch.zeros(shape, device=residuals.device)
        for pieces in _pieces(rows, self._dense_tokens(residuals.device)):
            dense = self.sae.preactivations(torch.cat([residuals[row, a:b] for _, row, a, b in pieces]))
            parts = list(zip(pieces, dense.split([b - a for _, _, a, b in pieces]), strict=True))
            for (span, _, _, _), part in parts:
                torch.maximum(most[span], part.amax(0), out=most[span])
            dense.gt_(self.sae.threshold)
            for (span, _, _, _), part in parts:
                count[span] += part.sum(0)
        return most, count

    def _dense_tokens(self, device: torch.device) -> int:
        limit = CUDA_DENSE if device.type == "cuda" else CPU_DENSE
        return max(limit // (4 * self.sae.config.d_sae), 1)

    def _keep(self, indices: list[int], most: Tensor, count: Tensor) -> None:
        wrong = ~torch.isfinite(most).all(1) | (most > LARGEST).any(1)
        self.bad.update(indices[i] for i in wrong.nonzero().flatten().tolist())
        spans, features = (count > 0).nonzero(as_tuple=True)
        ends = torch.bincount(spans, minlength=len(indices)).cumsum(0).tolist()
        values = most[spans, features].cpu().numpy()
        counts = count[spans, features].clamp(max=65535).cpu().numpy().astype(np.uint16)
        ids = features.cpu().numpy().astype(np.uint32)
        for index, start, stop in zip(indices, [0, *ends], ends, strict=False):
            self.features[index] = (ids[start:stop], values[start:stop], counts[start:stop])

    def _pool(self, residuals: Tensor, rows: Sequence[tuple[int, int, int, int]]) -> None:
        means = torch.stack([residuals[row, a:b].float().mean(0) for row, _, a, b in rows]).cpu().numpy()
        for (_, index, _, _), mean in zip(rows, means, strict=True):
            self.residuals[index] = mean
            if not np.isfinite(mean).all() or np.abs(mean).max() > LARGEST:
                self.bad.add(index)
        if self.moments.tokens == 0:
            sample = torch.cat([residuals[row, a:b] for row, _, a, b in rows])[:SAMPLE].float()
            self.moments = _moments(self.sae, sample)


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
    activations = sae.encode(x)
    error = (x - sae.decode(activations)).double().pow(2).sum()
    variance = (x - x.mean(0)).double().pow(2).sum()
    return Moments(len(x), int((activations > 0).sum()), float(error), float(variance))
