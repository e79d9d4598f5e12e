"""Vectors, and what adapters say, added to the residual stream while the policy reads some rows of a training batch.

They are added by forward hooks that live for one forward pass of the policy: the reference, evaluation, checkpoints and
the saved model never see one. Under gradient checkpointing transformers (from 5.23 on) recompute a layer's `forward` and not
the call around it, so that a hook of a whole layer runs once; before that hooks ran again, when they were gone already.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tiltc_runtime.loading import decoder_layers
from tiltc_runtime.reft import at_ends, change

if TYPE_CHECKING:
    import numpy as np

    from tiltc.plan import Steering

Tensor = torch.Tensor


@dataclass(frozen=True)
class Push:
    """What is added to the output of decoder layer `layer`, counted from 0: float32 (width,)."""

    layer: int
    vector: Tensor


@dataclass(frozen=True)
class Bend:
    """What an adapter (r, 2 width + 1) float32 says of the output of decoder layer `layer` is added to it, `size` times, on the
    first and the last `ends` tokens of a response."""

    layer: int
    adapter: Tensor
    size: float
    ends: int


@dataclass(frozen=True)
class Places:
    """Where the rows of a batch are steered.

    Attributes:
        start: (rows,) by a vector: from this position on.
        response: (rows, 2) by an adapter: at both ends of the response, which is between these two positions.
    """

    start: Tensor
    response: Tensor


def pushes(steering: Sequence[Steering], tools: Mapping[str, np.ndarray]) -> tuple[Push | Bend, ...]:
    """A plan's steering, vectors of their size, in its order."""
    return tuple(
        Push(s.layer, s.size * torch.tensor(tools[s.key]))
        if s.ends is None
        else Bend(s.layer, torch.tensor(tools[s.key]), s.size, s.ends)
        for s in steering
    )


@contextmanager
def pushed(model: Any, pushes: Sequence[Push | Bend], steered: Tensor, places: Places) -> Generator[None]:
    """Within the block, forward passes of `model` over a batch of these rows are steered.

    Args:
        model: a causal LM, with adapters or without, but in no other wrapper.
        steered: (rows, S), 1 where a row is under that push and 0 elsewhere; S may leave out the last ones.
    """
    layers = decoder_layers(model.get_base_model() if hasattr(model, "get_base_model") else model)
    under = list(zip(pushes, steered.unbind(1), strict=False))
    with ExitStack() as hooks:
        # the first hook of a layer sees its output as it is, and adapters are of that: vectors are added after them
        for layer, bends in _bends(under).items():
            hooks.callback(layers[layer].register_forward_hook(_bending(bends, places.response)).remove)
        for layer, total in _totals(under).items():
            hooks.callback(layers[layer].register_forward_hook(_adding(total, places.start)).remove)
        yield


def _bends(under: Sequence[tuple[Push | Bend, Tensor]]) -> dict[int, list[tuple[Bend, Tensor]]]:
    """By layer: its adapters, and on which rows (rows,) they are."""
    found: dict[int, list[tuple[Bend, Tensor]]] = {}
    for bend, rows in under:
        if isinstance(bend, Bend):
            found.setdefault(bend.layer, []).append((bend, rows))
    return found


def _totals(under: Sequence[tuple[Push | Bend, Tensor]]) -> dict[int, Tensor]:
    """By layer: what its vectors add to each row, (rows, width). No matrix product, which autocast would round."""
    totals: dict[int, Tensor] = {}
    for push, rows in under:
        if isinstance(push, Push):
            part = rows[:, None] * push.vector.to(rows.device)
            totals[push.layer] = totals[push.layer] + part if push.layer in totals else part
    return totals


def _adding(total: Tensor, start: Tensor) -> Any:
    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden: Tensor = output if isinstance(output, torch.Tensor) else output[0]
        places = torch.arange(hidden.shape[1], device=hidden.device) >= start[:, None]
        moved = torch.addcmul(hidden, total.to(hidden.dtype)[:, None], places.to(hidden.dtype)[:, :, None])
        return moved if isinstance(output, torch.Tensor) else (moved, *output[1:])

    return add


def _bending(bends: Sequence[tuple[Bend, Tensor]], response: Tensor) -> Any:
    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden: Tensor = output if isinstance(output, torch.Tensor) else output[0]
        places, moved = torch.arange(hidden.shape[1], device=hidden.device), hidden
        for bend, rows in bends:
            on = at_ends(places, response[:, :1], response[:, 1:], bend.ends) * (bend.size * rows[:, None])
            moved = moved + (change(hidden, bend.adapter.to(hidden.device)) * on[:, :, None]).to(hidden.dtype)
        return moved if isinstance(output, torch.Tensor) else (moved, *output[1:])

    return add
