"""Training settings under which a plan can't take effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.check.methods import OFFSET_LOSSES, admissible
from tiltc.diagnostics import Diagnostics
from tiltc.spec import Keep

if TYPE_CHECKING:
    from tiltc.parse import SpecFile

#: relative spacing of bf16 (8 bits of mantissa): an update below half of it leaves a weight as it was
BF16_STEP = 2.0**-8
#: the size of a typical weight in a transformer's linear layers
TYPICAL_WEIGHT = 0.02
#: summed log-probabilities move by nats: above this beta a few nats already saturate the sigmoid
SATURATED_BETA = 1.0


def lost_updates(spec_file: SpecFile, found: Diagnostics) -> None:
    """T309: Adam moves a weight by about the learning rate; pure bf16 weights can't take steps that small."""
    train = spec_file.spec.train
    least = BF16_STEP / 2 * TYPICAL_WEIGHT
    if train.precision == "bf16" and train.learning_rate < least:
        found.add(
            "T309",
            spec_file.at(("train", "precision")),
            "weights held in bf16 don't change by steps this small",
            notes=[
                f"learning rate {train.learning_rate:g}; half a bf16 step of a weight of {TYPICAL_WEIGHT:g} is {least:.1e}"
            ],
            helps=["`precision: bf16-mixed` keeps fp32 master weights"],
        )


def saturated_beta(spec_file: SpecFile, found: Diagnostics) -> None:
    """T310: with summed log-probabilities a large beta saturates the loss within a few nats."""
    train = spec_file.spec.train
    summed = train.method == "kto" or (train.method == "dpo" and train.loss != "sigmoid_norm")
    if train.beta > SATURATED_BETA and summed:
        found.add(
            "T310",
            spec_file.at(("train", "beta")),
            "the loss saturates within a few nats",
            notes=[f"at beta {train.beta:g} a margin of {3 / train.beta:.1f} nats leaves 5% of the gradient"],
            helps=["lower beta, or use the length-normalised loss: `loss: sigmoid_norm`"],
        )


def fused_path(spec_file: SpecFile, found: Diagnostics) -> None:
    """T312: the fused Liger loss computes the margin inside a kernel that knows neither weights nor offsets."""
    if spec_file.spec.train.liger:
        found.add(
            "T312",
            spec_file.at(("train", "liger")),
            "the fused loss ignores weights and offsets",
            helps=["remove `liger: true`"],
        )


def loss_without_offsets(spec_file: SpecFile, found: Diagnostics) -> None:
    """T315: a reward term needs a loss in which an offset means what the solver thinks it means."""
    spec = spec_file.spec
    if spec.train.method != "dpo" or "reward" in admissible("dpo", spec.train.loss):
        return
    for i, signal in enumerate(spec.signals):
        if isinstance(signal, Keep):
            continue
        if signal.with_ in ("reward", "steer", "inoculate"):
            found.add(
                "T315",
                spec_file.at(("train", "loss")),
                f"an offset has no exact meaning in `{spec.train.loss}`",
                notes=[f"signal {i + 1} (`{signal.verb}: {signal.concept}`) is carried out by an offset"],
                helps=[
                    f"use one of {', '.join(f'`{n}`' for n in OFFSET_LOSSES)}, or `with: filter` or `with: reweight`"
                ],
            )
            return
