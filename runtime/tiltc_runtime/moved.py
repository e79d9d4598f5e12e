"""Did training change anything? A run whose gradient was zero throughout, or that moved next to no weight, says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiltc.diagnostics import Diagnostics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tiltc_runtime.record import RunRecord

#: values of a tensor that are looked at, and the share of them that training moves at least. Embeddings of tokens that the
#: data does not have stay where they are, and so do a few values near zero move under any learning rate
SAMPLE, LEAST = 4096, 0.01


def sample(model: Any) -> dict[str, Tensor]:
    """Evenly spaced values of each trained tensor.

    Of adapters, the half that begins at zero decides: while it is zero the other half changes nothing.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    halves = any("lora_B" in name for name in trained)
    return {name: _spaced(p) for name, p in trained.items() if not (halves and "lora_A" in name)}


def _spaced(tensor: Tensor) -> Tensor:
    flat = tensor.detach().flatten()
    return flat[:: max(flat.numel() // SAMPLE, 1)].cpu().clone()


def share_moved(before: Mapping[str, Tensor], model: Any) -> float:
    """The share of the values looked at that are others than before."""
    after = sample(model)
    moved = sum(int((after[name] != values).sum()) for name, values in before.items())
    return moved / max(sum(values.numel() for values in before.values()), 1)


def nothing_changed(record: RunRecord) -> Diagnostics:
    """T564 for a run that left the starting model as it was."""
    found = Diagnostics()
    norms = [step["grad_norm"] for step in record.history if "grad_norm" in step]
    if norms and not any(norms):
        helps = ["see what the plan leaves to learn from: `tiltc show PLAN`, and its rows with `tiltc export PLAN`"]
        found.add("T564", None, f"the gradient was zero at each of {len(norms)} steps", helps=helps)
    elif record.moved is not None and record.moved < LEAST:
        rate = record.arguments.get("learning_rate")
        notes = [f"largest gradient norm {max(norms, default=0.0):.3g}, learning rate {rate}"]
        helps = ["raise `train.learning_rate`, or hold the weights in float32: `train: {precision: fp32}`"]
        text = f"{record.moved:.2%} of the trained weights have another value than before, after {record.steps} steps"
        found.add("T564", None, text, notes=notes, helps=helps)
    return found
