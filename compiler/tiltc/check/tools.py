"""Mechanisms that can't do what a signal asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics
from tiltc.spec import Amplify, Keep

if TYPE_CHECKING:
    from tiltc.parse import SpecFile

#: mechanisms that can only take away (paper section 9, R10)
BLOCKING = ("filter", "tokens")
#: named in the language, not lowered by this version
NOT_BUILT = ("tokens", "steer", "inoculate")


def mechanism_cannot(spec_file: SpecFile, found: Diagnostics) -> None:
    """T308: a mechanism that only blocks is asked to amplify; a detector readout where there is no detector."""
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Amplify) and signal.with_ in BLOCKING:
            found.add(
                "T308",
                spec_file.at(("signals", i, "with")),
                f"`{signal.with_}` can only take a concept away",
                helps=["use `with: reward` or `with: reweight`"],
            )
        if not isinstance(signal, Keep) and signal.strength is not None and signal.with_ in BLOCKING:
            found.add(
                "T308",
                spec_file.at(("signals", i, "strength")),
                f"`{signal.with_}` has no strength",
                helps=["remove `strength`, or use `with: reward` or `with: reweight`"],
            )
        definition = spec_file.library.get(signal.concept)
        if (
            signal.readout == "detector"
            and definition
            and definition.concept.kind in ("examples", "features", "label", "contrast", "audit")
        ):
            found.add(
                "T308",
                spec_file.at(("signals", i, "readout")),
                f"`{signal.concept}` is defined by `{definition.concept.kind}`, which is no detector",
                helps=["leave `readout` out, or define the concept by `pattern`, `words` or `surface`"],
            )


def not_built(spec_file: SpecFile, found: Diagnostics) -> None:
    """T405: a mechanism of the language that this version doesn't lower."""
    for i, signal in enumerate(spec_file.spec.signals):
        if not isinstance(signal, Keep) and signal.with_ in NOT_BUILT:
            found.add(
                "T405",
                spec_file.at(("signals", i, "with")),
                f"`{signal.with_}` can't be lowered yet",
                helps=["use `filter`, `reweight`, `reward` or `auto`"],
            )
