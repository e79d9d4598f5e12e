"""How much of a model its adapters reach, measured on the model that is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, ParamWrapper

from tiltc.diagnostics import Diagnostics
from tiltc_runtime.loading import decoder_layers

#: less of the decoder's weights than this is said: what routes to experts, and short convolutions, are below it
LEAST = 0.98
#: at most so many kinds of weights are named
NAMED = 6


@dataclass(frozen=True)
class Reach:
    """Weights, in numbers, of the decoder layers that get adapters: vectors such as biases and norms are left out.

    `missed` has those that no adapter reaches, by their name in the layer.
    """

    first: int
    last: int
    weights: int
    missed: dict[str, int]

    @property
    def share(self) -> float:
        return 1 - sum(self.missed.values()) / max(self.weights, 1)

    @property
    def text(self) -> str:
        return f"adapters reach {self.share:.1%} of the weights of decoder layers {self.first} to {self.last}"

    def check(self) -> Diagnostics:
        """T573 where it is much less than all."""
        found = Diagnostics()
        if self.share < LEAST:
            kinds = sorted(self.missed.items(), key=lambda item: -item[1])
            notes = [f"not reached: `{name}`, {count / max(self.weights, 1):.1%}" for name, count in kinds[:NAMED]]
            more = [f"and {len(kinds) - NAMED} more kinds"] if len(kinds) > NAMED else []
            helps = ["leave `train.lora` out to train every weight", "or allow it, if these are meant to stay"]
            found.add("T573", None, self.text, notes=[*notes, *more], helps=helps)
        return found


def reach(model: Any, first: int) -> Reach:
    """What the adapters of a PEFT model reach from decoder layer `first` on."""
    layers = decoder_layers(model.get_base_model())
    reached = {id(parameter) for layer in layers for parameter in _adapted(layer)}
    weights, missed = 0, Counter[str]()
    for layer in layers[first:]:
        for name, parameter in layer.named_parameters():
            if parameter.dim() > 1 and "lora_" not in name:
                weights += parameter.numel()
                if id(parameter) not in reached:
                    missed[_kind(name)] += parameter.numel()
    return Reach(first, len(layers) - 1, weights, dict(missed))


def _adapted(layer: torch.nn.Module) -> Iterator[torch.Tensor]:
    for module in layer.modules():
        if isinstance(module, ParamWrapper):
            yield module.get_param()
        elif isinstance(module, LoraLayer):
            yield module.get_base_layer().weight  # pyright: ignore[reportReturnType]


def _kind(name: str) -> str:
    """A parameter's name without numbers, and without the shells that adapters put around modules."""
    parts = [part for part in name.split(".") if part != "base_layer"]
    return ".".join("*" if part.isdigit() else part for part in parts)
