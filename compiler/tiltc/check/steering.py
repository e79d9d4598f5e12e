"""Readouts that nothing can be steered by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics

if TYPE_CHECKING:
    from tiltc.parse import SpecFile


def no_steering_form(spec_file: SpecFile, found: Diagnostics) -> None:
    """T308: an attention probe is no vector that could be added to the residual stream (paper section 3.1)."""
    for i, signal in enumerate(spec_file.spec.signals):
        if signal.readout == "attention" and getattr(signal, "with_", None) == "steer":
            found.add(
                "T308",
                spec_file.at(("signals", i, "with")),
                f"`{signal.concept}` is read by an attention probe, and there is no vector of it to steer by",
                notes=[
                    "what it reads off a token depends on those before it, so it has no form in the residual stream"
                ],
                helps=["read it by `direction`, `probe` or `probe-pairwise`, or use another mechanism"],
            )
