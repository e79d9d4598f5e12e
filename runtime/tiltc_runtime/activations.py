"""Texts -> SAE features per span and pooled residuals. Shared by harvest and verify."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix

from tiltc_runtime.asked import Prompt, encode_asked
from tiltc_runtime.attention import token_reads
from tiltc_runtime.loading import LoadedModel
from tiltc_runtime.pairs import Text
from tiltc_runtime.passes import EVERY, Continuation, Ids, Run, Trunk, cache_agrees, run_shared, run_whole
from tiltc_runtime.sae import Sae
from tiltc_runtime.spans import Moments, Spans, Sparse

Tensor = torch.Tensor


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
    """Features of n responses: max activations, token counts and peak tokens (n, F), all three with the same entries;
    mean residuals (n, d), tokens (n,)."""

    max: csr_matrix
    counts: csr_matrix
    peaks: csr_matrix
    residuals: np.ndarray
    tokens: np.ndarray
    #: responses whose activations were not finite
    bad: list[int] = field(default_factory=list)
    #: name of a tool -> (n,) float64, the largest that it reads off a response token; the least of all without tokens
    projections: dict[str, np.ndarray] = field(default_factory=dict)


def read_texts(
    model: LoadedModel,
    sae: Sae,
    conversations: Sequence[tuple[Prompt | Text, str]],
    *,
    max_length: int = 1024,
    budget: int | None = None,
    vectors: Mapping[str, np.ndarray] | None = None,
) -> TextReading:
    """Read SAE features on responses.

    Args:
        conversations: (prompt, response); a text prompt is one user turn. A `Prompt` says how it is rendered.
        max_length: prompt and response tokens together; what is beyond is not read, and a response whose prompt
            fills it has no tokens and no features.
        vectors: name -> (d,) vector at the SAE's hook, to be projected on, or an attention probe (2H + 1, d + 1).

    Raises:
        Refused: T516, the chat template refuses a conversation.
    """
    encoded = [encode_asked(model.tokenizer, prompt, response, max_length) for prompt, response in conversations]
    if not sae.reads:
        return _unread_texts([len(e.responses[0]) if e.responses else 0 for e in encoded])
    projected = Projected(vectors or {}, sum(bool(e.responses) for e in encoded))
    reading = Reader(model, sae, budget).read([(e.prompt, e.responses) for e in encoded if e.responses], projected)
    kept = np.array([bool(e.responses) for e in encoded], dtype=bool)
    residuals = np.zeros((len(encoded), sae.config.d_in), dtype=np.float32)
    residuals[kept] = reading.residuals
    pointers = np.zeros(len(encoded) + 1, dtype=np.int64)
    pointers[1:][kept] = np.diff(reading.responses.indptr)
    spread = dataclasses.replace(reading.responses, indptr=pointers.cumsum())
    tokens = np.array([len(e.responses[0]) if e.responses else 0 for e in encoded], dtype=np.int32)
    bad = [int(i) for i in np.flatnonzero(kept)[reading.bad_responses]] if reading.bad_responses else []
    most, counts, peaks = (spread.matrix(v, sae.config.d_sae) for v in (spread.max, spread.count, spread.peak))
    projections = {name: np.full(len(encoded), -np.inf) for name in projected.most}
    for name, values in projected.most.items():
        projections[name][kept] = values
        finite = values[np.isfinite(values)]
        # without a token to read a text shows as little as any
        projections[name][~np.isfinite(projections[name])] = finite.min() if len(finite) else 0.0
    return TextReading(most, counts, peaks, residuals, tokens, bad, projections)


def read_prompt_features(
    model: LoadedModel, sae: Sae, prompts: Sequence[Prompt | Text], *, max_length: int = 1024
) -> csr_matrix:
    """Max activations (n, F) on prompts in the chat template, with the generation prompt: what harvest reads of a pair.

    Raises:
        Refused: T516, the chat template refuses a conversation.
    """
    # a prompt is read for the sake of a response: any will do
    if not sae.reads:
        return csr_matrix((len(prompts), 0), dtype=np.float32)
    encoded = [encode_asked(model.tokenizer, prompt, "-", max_length) for prompt in prompts]
    reading = Reader(model, sae).read([(e.prompt, e.responses) for e in encoded])
    return reading.prompts.matrix(reading.prompts.max, sae.config.d_sae)


def _unread_texts(tokens: Sequence[int]) -> TextReading:
    nothing = csr_matrix((len(tokens), 0), dtype=np.float32)
    residuals = np.zeros((len(tokens), 0), dtype=np.float32)
    return TextReading(nothing, nothing, nothing, residuals, np.array(tokens, dtype=np.int32))


class Unread:
    """Takes the place of a `Reader` where there is no SAE: nothing is read, and no model loaded."""

    tokens = 0

    def read(self, items: Sequence[tuple[Ids, Sequence[Ids]]]) -> Reading:
        responses = sum(len(responses) for _, responses in items)
        residuals = np.zeros((responses, 0), dtype=np.float32)
        return Reading(_no_features(len(items)), _no_features(responses), residuals, [], [], Moments())


def _no_features(spans: int) -> Sparse:
    none = np.zeros(0, dtype=np.int64)
    return Sparse(np.zeros(spans + 1, dtype=np.int64), none, none.astype(np.float32), none, none)


class Collector(Protocol):
    """Takes in residuals on the device and keeps what it wants of them; see `Spans`."""

    def begin(self, residuals: Tensor, *, skip: int = 0) -> None: ...

    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]], *, skip: int = 0) -> None: ...


@dataclass(frozen=True)
class _Both:
    first: Collector
    second: Collector

    def begin(self, residuals: Tensor, *, skip: int = 0) -> None:
        for collector in (self.first, self.second):
            collector.begin(residuals, skip=skip)

    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]], *, skip: int = 0) -> None:
        for collector in (self.first, self.second):
            collector.add(residuals, spans, skip=skip)


class Projected:
    """The largest that each of some vectors and attention probes reads off each of n spans; sinks are left out."""

    def __init__(self, vectors: Mapping[str, np.ndarray], n: int) -> None:
        self.reads = {name: token_reads(tensor) for name, tensor in vectors.items()}
        self.most = {name: np.full(n, -np.inf) for name in vectors}

    def begin(self, residuals: Tensor, *, skip: int = 0) -> None:
        """Responses begin with nothing that they share."""

    @torch.inference_mode()
    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]], *, skip: int = 0) -> None:
        for row, (index, start, stop) in enumerate(spans):
            if stop <= start + skip:
                continue
            for name, read in self.reads.items():
                values = read(residuals[row, start + skip : stop])
                self.most[name][index] = max(self.most[name][index], float(values.max()))


class Nothing:
    """Keeps nothing: prompts are run for the sake of what follows them."""

    def begin(self, residuals: Tensor, *, skip: int = 0) -> None: ...

    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]], *, skip: int = 0) -> None: ...


class Reader:
    """Reads prompts and their responses through a model's trunk and an SAE."""

    def __init__(self, model: LoadedModel, sae: Sae, budget: int | None = None) -> None:
        self.sae, self.trunk = sae.to(model.device), Trunk(model, sae.hook, budget)
        self.shared: bool | None = None
        #: tokens read so far, padding not counted
        self.tokens = 0

    def read(self, items: Sequence[tuple[Ids, Sequence[Ids]]], also: Collector | None = None) -> Reading:
        """Read (prompt, responses) items; results are in their order, responses flattened.

        `also` gets the residuals of the responses too. Equal prompts are computed once. The first call checks that the
        architecture's cache can be shared.
        """
        prompts = list(dict.fromkeys(prompt for prompt, _ in items))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        responses = sum(len(responses) for _, responses in items)
        read, answers = Spans(self.sae, len(prompts)), Spans(self.sae, responses, pool=True)
        self.run(items, read, answers if also is None else _Both(answers, also))
        order = [place[prompt] for prompt, _ in items]
        bad = [i for i, p in enumerate(order) if p in read.bad]
        features = read.sparse(order), answers.sparse(range(responses))
        return Reading(*features, answers.residuals, bad, sorted(answers.bad), answers.moments)

    def run(self, items: Sequence[tuple[Ids, Sequence[Ids]]], read: Collector, answers: Collector) -> None:
        """Hand the residuals of the different prompts, in order of first use, to `read`, those of the responses to
        `answers`."""
        prompts = list(dict.fromkeys(prompt for prompt, _ in items))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        flat = [(place[prompt], ids) for prompt, responses in items for ids in responses]
        responses = [Continuation(p, index, ids) for index, (p, ids) in enumerate(flat)]
        if self.shared is None:
            self.prepare(items)
        with_prompt = [r for r in responses if prompts[r.prompt]]
        without = [r for r in responses if not prompts[r.prompt]]
        self._run(prompts, with_prompt, run_shared if self.shared else run_whole, read, answers)
        self._run(prompts, without, run_whole, read, answers)
        self.tokens += sum(map(len, prompts)) + sum(len(r.ids) for r in responses)

    def prepare(self, items: Sequence[tuple[Ids, Sequence[Ids]]]) -> None:
        """Decide from the longest and the shortest of these items whether prompts can be shared."""
        usable = sorted((i for i in items if i[0] and i[1]), key=lambda i: (len(i[0]) + len(i[1][0]), i[0]))
        if not usable:
            return
        ends = [usable[0], usable[-1]]
        responses = [Continuation(i, i, ids[0]) for i, (_, ids) in enumerate(ends)]
        prompts = [prompt for prompt, _ in ends]
        self.shared = cache_agrees(self.trunk, prompts, responses)
        if not self.shared and self.trunk.begins:
            self.trunk.begins = False
            self.shared = cache_agrees(self.trunk, prompts, responses)
        if not self.shared:
            name = type(self.trunk.model).__name__
            print(f"{name} can't share prompts between responses: reading whole sequences", file=sys.stderr, flush=True)

    def _run(
        self, prompts: list[Ids], responses: list[Continuation], run: Run, read: Collector, answers: Collector
    ) -> None:
        """Run on the prompts that these responses need. The first token of a sequence is a sink and is left out."""
        used = sorted({r.prompt for r in responses})
        local = {p: i for i, p in enumerate(used)}
        moved = [Continuation(local[r.prompt], r.index, r.ids) for r in responses]

        def on_prompt(x: Tensor, spans: Sequence[tuple[int, int, int]]) -> None:
            if spans[0][0] == EVERY:
                read.begin(x[0], skip=1)
            else:
                read.add(x, [(used[p], start, stop) for p, start, stop in spans], skip=1)

        def on_response(x: Tensor, spans: Sequence[tuple[int, int, int]]) -> None:
            answers.add(x, spans, skip=0 if prompts[responses[0].prompt] else 1)

        if responses:
            run(self.trunk, [prompts[p] for p in used], moved, on_prompt, on_response)
