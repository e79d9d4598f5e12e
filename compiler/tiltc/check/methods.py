"""Which mechanism has a place in which training method. One table: `check`, `choose` and the runtime all read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from tiltc.diagnostics import Diagnostics
from tiltc.spec import Grpo, Keep, Mechanism, Train

if TYPE_CHECKING:
    from tiltc.parse import SpecFile

#: losses in which a margin offset is exact (the offset enters the same sigmoid or hinge as the margin)
OFFSET_LOSSES = ("sigmoid", "hinge", "robust", "sigmoid_norm")

#: method -> mechanisms that mean there what they were solved for
MECHANISMS: dict[str, frozenset[str]] = {
    "dpo": frozenset({"filter", "reweight", "reward", "tokens", "steer", "inoculate"}),
    "reward": frozenset({"filter", "reweight", "reward"}),
    "sft": frozenset({"filter", "reweight", "tokens"}),
    "kto": frozenset({"filter", "reweight"}),
    "grpo": frozenset({"filter", "reward"}),
}

#: (method, mechanism) -> why it has no place there
REASONS: dict[tuple[str, str], str] = {
    ("reward", "tokens"): "a reward model scores whole responses: no token has a loss of its own",
    ("reward", "steer"): "a reward model has no policy that could be steered",
    ("reward", "inoculate"): "a reward model has no policy that could read another prompt",
    ("sft", "reward"): "supervised training has no margin between two responses that an offset could be added to",
    ("kto", "reward"): "KTO judges responses one by one: there is no margin of a pair that an offset could be added to",
    ("kto", "tokens"): "KTO's loss is of the whole response's log-ratio, and its KL term knows no masks",
    (
        "grpo",
        "reweight",
    ): "GRPO samples its own responses: the pairs' losses, which a weight multiplies, are never formed",
    ("grpo", "tokens"): "GRPO samples its own responses: the tokens that would be masked never occur",
}


def admissible(method: str, loss: str) -> frozenset[str]:
    """The mechanisms that `train.method` with `train.loss` can carry out.

    `steer` and `inoculate` stay admissible under every loss of DPO: their forward form needs no offset.
    """
    found = MECHANISMS[method]
    return found - {"reward"} if method == "dpo" and loss not in OFFSET_LOSSES else found


def reason(method: str, mechanism: str) -> str:
    """Why a mechanism has no place in a method."""
    return REASONS.get((method, mechanism), f"`{mechanism}` is about how DPO's policy reads a pair")


def batch_fault(train: Train, processes: int = 1) -> str | None:
    """What is wrong with the batches for this method, if anything."""
    if train.method == "kto" and train.batch_size < 2:
        return "KTO compares the responses of a batch, so a batch needs at least two; train.batch_size is 1"
    rows, group = train.batch_size * train.accumulate * processes, (train.grpo or Grpo()).generations
    if train.method == "grpo" and rows % group:
        return f"a step has {rows} responses, which can't be cut into groups of {group} for one prompt each"
    return None


def misplaced_mechanism(spec_file: SpecFile, found: Diagnostics) -> None:
    """T317: a mechanism that the training method has no place for. T315 speaks of offsets under DPO's own losses."""
    train = spec_file.spec.train
    fitting = MECHANISMS[train.method]
    named = [name for name in get_args(Mechanism) if name in fitting]
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Keep):
            continue
        if train.method == "grpo" and signal.offset == "fixed":
            found.add(
                "T317",
                spec_file.at(("signals", i, "offset")),
                "`offset: fixed` has no place in `method: grpo`",
                notes=[
                    "a reward term is in proportion to what a response shows, and there is no pair to lean anywhere"
                ],
                helps=["remove `offset`"],
            )
        if train.method == "sft" and signal.side == "rejected":
            found.add(
                "T317",
                spec_file.at(("signals", i, "side")),
                "`side: rejected` has no place in `method: sft`",
                notes=["supervised training reads the chosen responses and no others"],
                helps=["remove `side`"],
            )
        if signal.with_ == "auto" or signal.with_ in fitting:
            continue
        found.add(
            "T317",
            spec_file.at(("signals", i, "with")),
            f"`{signal.with_}` has no place in `method: {train.method}`",
            notes=[reason(train.method, signal.with_)],
            helps=[f"use {', '.join(f'`{name}`' for name in named)} or `auto`, or another `train.method`"],
        )


def batches(spec_file: SpecFile, found: Diagnostics) -> None:
    """T318: batches that the method can't form its loss from."""
    train = spec_file.spec.train
    if fault := batch_fault(train):
        helps = ["raise `batch_size`"] if train.method == "kto" else ["change `batch_size` or `grpo.generations`"]
        found.add("T318", spec_file.at(("train", "batch_size")), fault, helps=helps)
