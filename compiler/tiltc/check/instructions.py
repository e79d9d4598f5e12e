"""What a model is told in training: concepts without a way to ask for them, and controls that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics
from tiltc.spec import Keep

if TYPE_CHECKING:
    from tiltc.parse import SpecFile


def no_instructions(spec_file: SpecFile, found: Diagnostics) -> None:
    """T320: `inoculate` adds one of the concept's instructions to the user's turn."""
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Keep) or signal.with_ != "inoculate":
            continue
        definition = spec_file.library[signal.concept]
        if not any(text.strip() for text in definition.concept.instructions):
            found.add(
                "T320",
                spec_file.at(("signals", i, "with")),
                f"`{signal.concept}` has no `instructions`",
                helps=["give its definition two or three: `instructions: ['Please ...', 'Your answer should ...']`"],
            )


def idle_control(spec_file: SpecFile, found: Diagnostics) -> None:
    """T329: what stands in for the instructions in the control run must say something, and something else."""
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Keep) or signal.control is None:
            continue
        asking = {_words(text) for text in spec_file.library[signal.concept].concept.instructions}
        for text in signal.control:
            if _words(text) in {"", *asking}:
                said = "says nothing" if not text.strip() else f"is one of the instructions of `{signal.concept}`"
                found.add(
                    "T329",
                    spec_file.at(("signals", i, "control")),
                    f"`{text}` {said}",
                    helps=["give sentences that have nothing to do with the concept, or leave `control` out"],
                )


def _words(text: str) -> str:
    return " ".join(text.lower().split())
