"""ReFT adapters: a low-rank change of the residual stream at one layer (paper section 3.1, NoDiReFT).

    h_t  ->  h_t + size * W2 (W1 h_t + b)        on the first and the last tokens of a response

The paper has one at every layer of the model; here there is one, where vectors are added too. An adapter is one tensor
(r, 2d + 1): row k is w_k, b_k, v_k, with W1's row, its bias, and W2's column. What it adds is computed in float32 whatever
the model's precision is, and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tiltc.evidence import AdapterRecipe
from tiltc_runtime.attention import one_thread
from tiltc_runtime.loading import decoder_layers
from tiltc_runtime.tokens import Ids

Tensor = torch.Tensor


def change(hidden: Tensor, adapter: Tensor) -> Tensor:
    """(..., d) float32: what an adapter (r, 2d + 1) adds to a residual stream (..., d)."""
    width = hidden.shape[-1]
    with torch.autocast(hidden.device.type, enabled=False):
        code = hidden.float() @ adapter[:, :width].T + adapter[:, width]
        return code @ adapter[:, width + 1 :]


def at_ends(places: Tensor, first: Tensor, stop: Tensor, ends: int) -> Tensor:
    """Bools of the shape of `places`: which of these positions are among the first or the last `ends` of first, ..., stop - 1."""
    inside = (places >= first) & (places < stop)
    return inside & ((places < first + ends) | (places >= stop - ends))


@contextmanager
def moved_at(model: Any, layer: int, move: Callable[[Tensor], Tensor]) -> Generator[None]:
    """Within the block, what decoder layer `layer` puts out (-1: what enters layer 0) goes through `move`."""

    def after_layer(_module: Any, _inputs: Any, output: Any) -> Any:
        return move(output) if isinstance(output, Tensor) else (move(output[0]), *output[1:])

    def before_layer(_module: Any, inputs: Any, keywords: Any) -> Any:
        if inputs:
            return (move(inputs[0]), *inputs[1:]), keywords
        return inputs, {**keywords, "hidden_states": move(keywords["hidden_states"])}

    layers = decoder_layers(model)
    handle = (
        layers[0].register_forward_pre_hook(before_layer, with_kwargs=True)
        if layer < 0
        else layers[layer].register_forward_hook(after_layer)
    )
    try:
        yield
    finally:
        handle.remove()


def fit_adapter(
    model: Any, texts: Sequence[tuple[Ids, Ids]], recipe: AdapterRecipe, say: Callable[[str], None] = lambda _: None
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Fit an adapter to prompts and responses. The model is frozen, and stays as it is.

    AdamW without decay on the mean of -log p over the response tokens of a batch. Texts are read one by one, so that no
    figure depends on padding and memory is that of the longest; on a CPU in one thread, so that the bits are the same
    whatever the machine is busy with. W2 starts at zero: before the first step an adapter adds nothing.

    Returns:
        The tensor (r, 2d + 1) float32, and the mean loss of each epoch in nats a token, with dropout.
    """
    width = int(model.config.get_text_config().hidden_size)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(recipe.seed)
    start = torch.zeros(recipe.rank, 2 * width + 1)
    start[:, :width] = torch.randn(recipe.rank, width, generator=generator) / width**0.5
    adapter = start.to(device).requires_grad_()
    optimizer = torch.optim.AdamW([adapter], lr=recipe.learning_rate, weight_decay=0.0)
    losses: list[float] = []
    with one_thread(), torch.enable_grad():
        for epoch in range(recipe.epochs):
            total, seen = 0.0, 0
            for batch in torch.randperm(len(texts), generator=generator).split(recipe.batch):
                picked = [texts[i] for i in batch.tolist()]
                tokens = max(sum(_predicted(*text) for text in picked), 1)
                optimizer.zero_grad()
                for prompt, response in picked:
                    kept = _kept((len(prompt) + len(response), width), recipe.dropout, generator).to(device)
                    nats = -_logp(model, prompt, response, recipe, adapter, kept)
                    # a text that nothing is added to has no gradient
                    if nats.requires_grad:
                        (nats / tokens).backward()
                    total += float(nats.detach())
                optimizer.step()
                seen += tokens
            losses.append(float(f"{total / max(seen, 1):.6g}"))
            say(f"epoch {epoch + 1} of {recipe.epochs}: {losses[-1]:.4f} nats a token")
    return adapter.detach().cpu().numpy(), tuple(losses)


@torch.no_grad()
def gained(model: Any, texts: Sequence[tuple[Ids, Ids]], tensor: np.ndarray, recipe: AdapterRecipe) -> np.ndarray:
    """(m,) float32: nats a token that each response gains from an adapter of size 1."""
    adapter = torch.from_numpy(tensor).to(next(model.parameters()).device)
    out = np.zeros(len(texts), dtype=np.float32)
    with one_thread():
        for i, (prompt, response) in enumerate(texts):
            more = _logp(model, prompt, response, recipe, adapter) - _logp(model, prompt, response, recipe, None)
            out[i] = float(more) / max(_predicted(prompt, response), 1)
    return out


def _predicted(prompt: Ids, response: Ids) -> int:
    """Response tokens that have a probability: without a prompt the first has none."""
    return len(response) - (not prompt)


def _kept(shape: tuple[int, int], dropout: float, generator: torch.Generator) -> Tensor:
    """Factors of what is added: 0 where it is dropped, and such that it is the same on average."""
    return (torch.rand(shape, generator=generator) >= dropout).float() / (1 - dropout)


def _logp(
    model: Any, prompt: Ids, response: Ids, recipe: AdapterRecipe, adapter: Tensor | None, kept: Tensor | None = None
) -> Tensor:
    """log p of a response, in nats: a float32 scalar."""
    ids = torch.tensor([prompt + response], device=next(model.parameters()).device)
    places = torch.arange(ids.shape[1], device=ids.device)
    first, stop = torch.tensor([len(prompt), ids.shape[1]], device=ids.device)
    factor = at_ends(places, first, stop, recipe.ends).float()[:, None] * (1.0 if kept is None else kept)

    def move(hidden: Tensor) -> Tensor:
        return hidden if adapter is None else hidden + (change(hidden, adapter) * factor).to(hidden.dtype)

    # of a prompt the last position is needed: it predicts the response's first token
    read = _predicted(prompt, response) + 1
    with moved_at(model, recipe.layer, move):
        logits: Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=read).logits[0, -read:-1]
    wanted = ids[0, ids.shape[1] - read + 1 :]
    return logits.float().log_softmax(-1).gather(1, wanted[:, None]).sum()
