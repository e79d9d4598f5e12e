"""Forward passes that stop at the SAE's layer, with prompts computed once for all responses that continue them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from tiltc_runtime.loading import LoadedModel, decoder_layers
from tiltc_runtime.sae import Hook
from tiltc_runtime.vocabulary import check_range

Tensor = torch.Tensor
Ids = tuple[int, ...]

#: Padded tokens in one forward pass.
CPU_TOKENS, CUDA_TOKENS = 2048, 32768
#: Relative difference of residuals, cached against full sequence, up to which a cache counts as right.
TOLERANCE = {"float32": 1e-3}
LOOSE = 5e-2
#: Shortest common beginning of prompts, in tokens, that is worth a pass of its own.
BEGINNING = 8
#: As the index of a span: its tokens begin every prompt. Comes first.
EVERY = -1


@dataclass(frozen=True)
class Continuation:
    """Response `index`, which continues prompt `prompt` (an index into the prompts of the same call)."""

    prompt: int
    index: int
    ids: Ids


@dataclass(frozen=True)
class Beginning:
    """What all prompts of a call begin with: a chat template's system prompt, for example. May be empty."""

    ids: Ids
    cache: Any = None


NOTHING = Beginning(())

#: called with residuals (rows, T, d), and for every row: the index, and the first and last+1 position of its tokens
Sink = Callable[[Tensor, Sequence[tuple[int, int, int]]], None]
Run = Callable[["Trunk", Sequence[Ids], Sequence[Continuation], Sink, Sink], None]


class Trunk:
    """A model's first decoder layers as a function from token ids to residuals at a hook."""

    def __init__(self, model: LoadedModel, hook: Hook, budget: int | None = None) -> None:
        self.model, self.hook, self.dtype = model.model, hook, model.dtype
        self.device = model.device
        self.budget = budget or (CUDA_TOKENS if self.device.type == "cuda" else CPU_TOKENS)
        self.rows = self.model.get_input_embeddings().num_embeddings
        layers = decoder_layers(self.model)
        self.layer = layers[max(hook.layer, 0)]
        self.trunk = self.model.get_decoder() if hasattr(self.model, "lm_head") else self.model
        #: may what prompts begin with be shared? Padding stands after it, which windows would take for tokens
        self.begins = not any(self.new_cache().is_sliding)

    def beginning(self, prompts: Sequence[Ids]) -> Beginning:
        """The longest common beginning that leaves every prompt a token, if sharing it pays."""
        ids = prompts[0][: min(_common(prompts), min(map(len, prompts)) - 1)]
        return Beginning(ids if len(prompts) > 1 and len(ids) >= BEGINNING and self.begins else ())

    def prompts(self, prompts: Sequence[Ids], after: Beginning = NOTHING) -> tuple[Tensor, Any]:
        """Residuals (rows, T, d) of what left-padded prompts have after their beginning, and the cache that they leave."""
        begun = len(after.ids)
        rests = [prompt[begun:] for prompt in prompts]
        ids, mask = self._padded(rests, max(map(len, rests)), left=True)
        places = begun + (mask.cumsum(1) - 1).clamp(min=0)
        cache = self.new_cache()
        if begun:
            cache = _selected(after.cache, torch.zeros(len(prompts), dtype=torch.long, device=self.device))
        seen = torch.cat([mask.new_ones(len(prompts), begun), mask], 1)
        return self._run(input_ids=ids, attention_mask=seen, position_ids=places, past_key_values=cache), cache

    def new_cache(self) -> Any:
        return DynamicCache(config=self.model.config.get_text_config())

    def continuations(
        self, cache: Any, rows: Sequence[int], prompts: Sequence[Ids], responses: Sequence[Ids], begun: int = 0
    ) -> Tensor:
        """Residuals (rows, T, d) of right-padded responses; row i continues row `rows[i]` of the prompts' batch, all of
        which share their first `begun` tokens."""
        before = max(map(len, prompts)) - begun
        ids, mask = self._padded(responses, max(map(len, responses)), left=False)
        _, seen = self._padded([prompts[row][begun:] for row in rows], before, left=True)
        lengths = torch.tensor([len(prompts[row]) for row in rows], device=self.device)
        places = lengths[:, None] + torch.arange(ids.shape[1], device=self.device)
        past = _selected(cache, torch.tensor(rows, device=self.device))
        whole = torch.cat([mask.new_ones(len(rows), begun), seen, mask], 1)
        return self._run(input_ids=ids, attention_mask=whole, position_ids=places, past_key_values=past)

    def sequences(self, sequences: Sequence[Ids]) -> Tensor:
        """Residuals (rows, T, d) of whole right-padded sequences."""
        ids, mask = self._padded(sequences, max(map(len, sequences)), left=False)
        return self._run(input_ids=ids, attention_mask=mask, use_cache=False)

    def _padded(self, rows: Sequence[Ids], width: int, *, left: bool) -> tuple[Tensor, Tensor]:
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        check_range(max((max(row, default=0) for row in rows), default=0), self.rows)
        for i, row in enumerate(rows):
            at = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, at], mask[i, at] = torch.tensor(row, dtype=torch.long), 1
        return ids.to(self.device), mask.to(self.device)

    @torch.inference_mode()
    def _run(self, **inputs: Any) -> Tensor:
        """Run up to the hook and no further: the layers above and the head are never computed."""
        with _stopping_at(self.layer, before=self.hook.layer < 0):
            try:
                self.trunk(**inputs)
            except _Reached as reached:
                return reached.residuals
        raise RuntimeError("the forward pass never reached the hooked layer")


class _Reached(Exception):
    """Carries the residuals out of a forward pass that has gone far enough."""

    def __init__(self, residuals: Tensor) -> None:
        self.residuals = residuals


@contextmanager
def _stopping_at(layer: torch.nn.Module, *, before: bool) -> Generator[None, None, None]:
    def after_layer(_module: Any, _inputs: Any, output: Any) -> None:
        raise _Reached(output if isinstance(output, Tensor) else output[0])

    def before_layer(_module: Any, inputs: Any, keywords: Any) -> None:
        raise _Reached(inputs[0] if inputs else keywords["hidden_states"])

    handle = (
        layer.register_forward_pre_hook(before_layer, with_kwargs=True)
        if before
        else layer.register_forward_hook(after_layer)
    )
    try:
        yield
    finally:
        handle.remove()


def run_shared(
    trunk: Trunk, prompts: Sequence[Ids], responses: Sequence[Continuation], on_prompt: Sink, on_response: Sink
) -> None:
    """Compute what prompts begin with once, each prompt's rest once, and its responses as continuations.

    Batches are by length, in a fixed order.
    """
    by_prompt: dict[int, list[Continuation]] = {}
    for response in responses:
        by_prompt.setdefault(response.prompt, []).append(response)
    begin = trunk.beginning(prompts)
    if begin.ids:
        residuals, cache = trunk.prompts([begin.ids])
        begin = Beginning(begin.ids, cache)
        on_prompt(residuals, [(EVERY, 0, len(begin.ids))])
    for rows in batches([len(p) - len(begin.ids) for p in prompts], trunk.budget):
        batch = [prompts[row] for row in rows]
        residuals, cache = trunk.prompts(batch, begin)
        width = residuals.shape[1]
        on_prompt(residuals, [(row, width - len(prompts[row]) + len(begin.ids), width) for row in rows])
        here = [(place, r) for place, row in enumerate(rows) for r in by_prompt.get(row, [])]
        for chunk in batches([len(r.ids) for _, r in here], trunk.budget):
            picked = [here[i] for i in chunk]
            made = trunk.continuations(
                cache, [place for place, _ in picked], batch, [r.ids for _, r in picked], len(begin.ids)
            )
            on_response(made, [(r.index, 0, len(r.ids)) for _, r in picked])


def run_whole(
    trunk: Trunk, prompts: Sequence[Ids], responses: Sequence[Continuation], on_prompt: Sink, on_response: Sink
) -> None:
    """The same from whole sequences: for architectures whose cache can't be shared, and for empty prompts."""
    first = {r.prompt: r.index for r in reversed(responses)}
    for chunk in batches([len(prompts[r.prompt]) + len(r.ids) for r in responses], trunk.budget):
        picked = [responses[i] for i in chunk]
        residuals = trunk.sequences([prompts[r.prompt] + r.ids for r in picked])
        starts = [len(prompts[r.prompt]) for r in picked]
        on_response(residuals, [(r.index, at, at + len(r.ids)) for r, at in zip(picked, starts, strict=True)])
        own = [(row, r) for row, r in enumerate(picked) if first[r.prompt] == r.index and prompts[r.prompt]]
        if own:
            rows = torch.tensor([row for row, _ in own], device=residuals.device)
            on_prompt(residuals[rows], [(r.prompt, 0, len(prompts[r.prompt])) for _, r in own])


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in groups of similar length, short ones first; each at most `budget` padded tokens, or a single index."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if group and (len(group) + 1) * lengths[index] > budget:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def cache_agrees(trunk: Trunk, prompts: Sequence[Ids], responses: Sequence[Continuation]) -> bool:
    """Does the shared-prompt path give the residuals of whole sequences on these texts?

    Compares the response residuals in relative Frobenius norm. Anything that the architecture raises counts as no.
    """
    ways: list[dict[int, Tensor]] = [{}, {}]
    for run, into in zip((run_whole, run_shared), ways, strict=True):

        def keep(residuals: Tensor, spans: Sequence[tuple[int, int, int]], into: dict[int, Tensor] = into) -> None:
            for row, (index, start, stop) in enumerate(spans):
                into[index] = residuals[row, start:stop].float()

        try:
            run(trunk, prompts, responses, _ignore, keep)
        except Exception:
            if run is run_whole:
                raise
            return False
    whole, shared = (torch.cat([way[i] for i in sorted(way)]) for way in ways)
    return bool((whole - shared).norm() <= TOLERANCE.get(trunk.dtype, LOOSE) * whole.norm())


def _common(rows: Sequence[Ids]) -> int:
    """Tokens that all rows begin with: those that the first and the last in order share."""
    low, high = min(rows), max(rows)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def _ignore(residuals: Tensor, spans: Sequence[tuple[int, int, int]]) -> None:
    """A sink for what nobody asks for."""


def _selected(cache: Any, rows: Tensor) -> Any:
    """A cache of its own for the given batch rows; the original stays as it is."""
    mine = copy.copy(cache)
    mine.layers = [copy.copy(layer) for layer in cache.layers]
    mine.batch_select_indices(rows)
    return mine
