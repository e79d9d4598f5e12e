"""Mechanisms that can't do what a signal asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics
from tiltc.spec import Amplify, Keep, Suppress

if TYPE_CHECKING:
    from tiltc.parse import SpecFile

#: mechanisms that can only take away (paper section 9, R10)
BLOCKING = ("filter", "tokens")
#: setting of a signal -> the mechanisms that it belongs to, and whether to their forward form alone
SETTINGS: dict[str, tuple[tuple[str, ...], bool]] = {
    "unit": (("tokens",), False),
    "form": (("steer", "inoculate"), False),
    "size": (("steer",), False),
    "fraction": (("steer", "inoculate"), True),
    "apart_from": (("filter", "reweight", "reward", "auto"), False),
}


def mechanism_cannot(spec_file: SpecFile, found: Diagnostics) -> None:
    """T308: a mechanism that only blocks is asked to amplify; a setting of another mechanism; a readout without a tool."""
    for i, signal in enumerate(spec_file.spec.signals):
        if not isinstance(signal, Keep):
            _blocks(spec_file, i, signal, found)
            _settings(spec_file, i, signal, found)
            _no_tokens(spec_file, i, signal, found)
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


def _blocks(spec_file: SpecFile, i: int, signal: Suppress | Amplify, found: Diagnostics) -> None:
    forward = signal.form == "forward"
    if isinstance(signal, Amplify) and (signal.with_ in BLOCKING or (signal.with_ == "inoculate" and forward)):
        found.add(
            "T308",
            spec_file.at(("signals", i, "with")),
            f"`{signal.with_}` can only take a concept away" + (" in its forward form" if forward else ""),
            helps=["use `with: reward` or `with: reweight`"],
        )
    if signal.strength is not None and (signal.with_ in BLOCKING or forward):
        found.add(
            "T308",
            spec_file.at(("signals", i, "strength")),
            "`form: forward` has no strength" if forward else f"`{signal.with_}` has no strength",
            helps=[
                "remove `strength`" + ("; `size` and `fraction` say how much" if forward else ", or use `with: reward`")
            ],
        )


def _no_tokens(spec_file: SpecFile, i: int, signal: Suppress | Amplify, found: Diagnostics) -> None:
    """A detector reads texts, not tokens, and a length is in no token."""
    definition = spec_file.library.get(signal.concept)
    length = definition is not None and definition.concept.surface == "length"
    if signal.with_ == "tokens" and (signal.readout == "detector" or length):
        text = f"`{signal.concept}` is read by its detector, which says nothing of single tokens"
        helps = ["use another mechanism"] if length else ["leave `readout` out, or use another mechanism"]
        found.add("T308", spec_file.at(("signals", i, "with")), text, helps=helps)


def _settings(spec_file: SpecFile, i: int, signal: Suppress | Amplify, found: Diagnostics) -> None:
    for name, (owners, forward_only) in SETTINGS.items():
        if getattr(signal, name) is None:
            continue
        at = spec_file.at(("signals", i, name))
        if signal.with_ not in owners:
            text = f"`{name}` is a setting of {' and '.join(f'`with: {o}`' for o in owners)}"
            found.add("T308", at, text, helps=[f"remove `{name}`, or name the mechanism"])
        elif forward_only and signal.form != "forward":
            found.add("T308", at, f"`{name}` is a setting of `form: forward`", helps=[f"remove `{name}`"])
