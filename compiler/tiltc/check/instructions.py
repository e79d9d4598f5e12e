"""Concepts that a model is to be asked for, without a way to ask."""

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
