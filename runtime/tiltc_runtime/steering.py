"""Vectors added to the residual stream while the policy reads some rows of a training batch.

They are added by forward hooks that live for one forward pass of the policy: the reference, evaluation, checkpoints and
the saved model never see one. Transformers recompute a layer's `forward` under gradient checkpointing and not the call
around it, so that a hook of a whole layer runs once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tiltc_runtime.loading import decoder_layers

if TYPE_CHECKING:
    import numpy as np

    from tiltc.plan import Steering

Tensor = torch.Tensor


@dataclass(frozen=True)
class Push:
    """What is added to the output of decoder layer `layer`, counted from 0: float32 (width,)."""

    layer: int
    vector: Tensor


def pushes(steering: Sequence[Steering], tools: Mapping[str, np.ndarray]) -> tuple[Push, ...]:
    """A plan's steering as vectors of their size, in its order."""
    return tuple(Push(s.layer, s.size * torch.tensor(tools[s.key])) for s in steering)


@contextmanager
def pushed(model: Any, pushes: Sequence[Push], steered: Tensor, start: Tensor) -> Generator[None]:
    """Within the block, forward passes of `model` over a batch of these rows are steered.

    Args:
        model: a causal LM, with adapters or without, but in no other wrapper.
        steered: (rows, S), 1 where a row is under that push and 0 elsewhere; S may leave out the last ones.
        start: (rows,) the first position of each row that is steered.
    """
    layers = decoder_layers(model.get_base_model() if hasattr(model, "get_base_model") else model)
    with ExitStack() as hooks:
        for layer, total in _totals(pushes, steered).items():
            hooks.callback(layers[layer].register_forward_hook(_adding(total, start)).remove)
        yield


def _totals(pushes: Sequence[Push], steered: Tensor) -> dict[int, Tensor]:
    """By layer: what is added to each row, (rows, width). No matrix product, which autocast would round."""
    totals: dict[int, Tensor] = {}
    for push, rows in zip(pushes, steered.unbind(1), strict=False):
        part = rows[:, None] * push.vector.to(steered.device)
        totals[push.layer] = totals[push.layer] + part if push.layer in totals else part
    return totals


def _adding(total: Tensor, start: Tensor) -> Any:
    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden: Tensor = output if isinstance(output, torch.Tensor) else output[0]
        places = torch.arange(hidden.shape[1], device=hidden.device) >= start[:, None]
        moved = torch.addcmul(hidden, total.to(hidden.dtype)[:, None], places.to(hidden.dtype)[:, :, None])
        return moved if isinstance(output, torch.Tensor) else (moved, *output[1:])

    return add
