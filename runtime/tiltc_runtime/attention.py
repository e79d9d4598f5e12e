"""Attention probes: a logit on every token from what the response has shown so far (paper section 3.1).

    z_i = sum over heads of sum_{j <= i} a_ij v_j + r_i        a_i = softmax over j <= i of q_j
    q = Q h,  v = V h,  r = R h + b

A query depends on the token that is looked at alone, so the average up to i is a ratio of two running sums, and takes
memory for T figures a head and not for T^2. A probe is one tensor (2H + 1, d + 1): the rows of Q, V and R, each with its
bias last. The biases of V stand for the mean residual, those of Q would cancel and are 0. There is no layer norm: the
residuals are standardised by fixed moments, which the tensor has taken in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence

from tiltc.evidence import ProbeRecipe

Tensor = torch.Tensor

#: the least exponent under the largest of a sequence: below it the weights of one head are equal, and never 0 in float64
FLOOR = -600.0


def token_reads(tensor: np.ndarray) -> Callable[[Tensor], Tensor]:
    """What a plan's tensor reads off the residuals (T, d) of one response, from its first token on: (T,) projections on a
    vector (d,), or logits of a probe (2H + 1, d + 1)."""
    weight = torch.as_tensor(tensor, dtype=torch.float32)
    if weight.ndim == 1:
        return lambda x: x.float() @ weight.to(x.device)
    return lambda x: causal_logits(projected(x, weight))


def projected(residuals: Tensor, probe: Tensor) -> Tensor:
    """Queries, values and residual (..., T, 2H + 1) of residuals (..., T, d), on the CPU, where sums have one order."""
    weight, bias = probe[:, :-1].to(residuals.device), probe[:, -1]
    return (residuals.float() @ weight.T).cpu() + bias


def causal_logits(figures: Tensor, real: Tensor | None = None) -> Tensor:
    """Logits (..., T) from queries, values and residual (..., T, 2H + 1), computed in float64.

    The exponents are shifted by the largest query of the sequence and head: any other shift cancels as well, as long as
    it is the same for all tokens.

    Args:
        real: (..., T) tokens that are no padding; all by default. Logits of padding mean nothing.
    """
    heads = figures.shape[-1] // 2
    query, value, residual = figures.double().split([heads, heads, 1], dim=-1)
    if real is not None:
        query = query.masked_fill(~real[..., None], -torch.inf)
    shifted = query - query.detach().amax(dim=-2, keepdim=True)
    weight = shifted.clamp(min=FLOOR).exp()
    mean = (weight * value).cumsum(dim=-2) / weight.cumsum(dim=-2)
    return mean.sum(dim=-1) + residual[..., 0]


def fit_probe(
    residuals: Tensor, sizes: Sequence[int], labels: Sequence[bool], recipe: ProbeRecipe
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Fit a probe to texts whose tokens lie one after the other.

    Runs on the CPU in one thread, so that the bits do not depend on how busy a machine is, or on its settings.

    Args:
        residuals: (N, d) float32, standardised in place.
        sizes: tokens of each text; they sum to N.
        labels: does a text show the concept?

    Returns:
        The tensor (2H + 1, d + 1) for raw residuals, and the mean loss of each epoch.
    """
    with one_thread():
        centre, spread = residuals.mean(0), residuals.std(0) + 1e-6
        residuals.sub_(centre).div_(spread)
        weight, bias, losses = _descend(residuals, sizes, labels, recipe)
        raw = weight.double() / spread.double()
        shift = -(raw @ centre.double())
        shift[: recipe.heads] = 0
        shift[-1] += bias.double()
        return torch.cat([raw, shift[:, None]], dim=1).float().numpy(), losses


def _descend(
    x: Tensor, sizes: Sequence[int], labels: Sequence[bool], recipe: ProbeRecipe
) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """AdamW on the token loss. Values start at zero: what a probe says is learned, only where its heads look is drawn."""
    generator = torch.Generator().manual_seed(recipe.seed)
    weight = torch.zeros(2 * recipe.heads + 1, x.shape[1])
    weight[: recipe.heads] = torch.randn(recipe.heads, x.shape[1], generator=generator) / x.shape[1] ** 0.5
    bias = torch.zeros(())
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    texts, shows = x.split(list(sizes)), torch.tensor(labels, dtype=torch.float64)
    tokens = torch.tensor(sizes, dtype=torch.float64)
    balance = (tokens @ (1 - shows)) / (tokens @ shows)
    losses: list[float] = []
    for _ in range(recipe.epochs):
        total = 0.0
        for batch in torch.randperm(len(sizes), generator=generator).split(recipe.batch):
            rows = batch.tolist()
            real = pad_sequence([torch.ones(sizes[i], dtype=torch.bool) for i in rows], batch_first=True)
            figures = torch.cat([texts[i] for i in rows]) @ weight.T
            padded = pad_sequence(list(figures.split([sizes[i] for i in rows])), batch_first=True)
            logits = causal_logits(padded, real)[real] + bias
            wanted = shows[batch].repeat_interleave(tokens[batch].long())
            loss = binary_cross_entropy_with_logits(logits, wanted, pos_weight=balance)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(logits)
        losses.append(float(f"{total / len(x):.6g}"))
    return weight.detach(), bias.detach(), tuple(losses)


@contextmanager
def one_thread() -> Generator[None, None, None]:
    """Within the block, torch computes in one thread on the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
