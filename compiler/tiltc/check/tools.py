"""Mechanisms that can't do what a signal asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from tiltc.check.coverage import ADAPTER, refusal, tools_for, way, written
from tiltc.detectors import has_detector
from tiltc.diagnostics import Diagnostics
from tiltc.spec import Amplify, Keep, Readout, Suppress, VectorTool

if TYPE_CHECKING:
    from tiltc.parse import SpecFile

#: mechanisms that can only take away (paper section 9, R10)
BLOCKING = ("filter", "tokens")
#: setting of a signal -> the mechanisms that it belongs to, and whether to their forward form alone
SETTINGS: dict[str, tuple[tuple[str, ...], bool]] = {
    "offset": (("reward",), False),
    "unit": (("tokens",), False),
    "form": (("steer", "inoculate"), False),
    "size": (("steer",), False),
    "side": (("tokens", "steer"), False),
    "fraction": (("steer", "inoculate"), True),
    "control": (("inoculate",), True),
    "apart_from": (("filter", "reweight", "reward", "auto"), False),
}

LABELLED = "define it by `pattern`, `words`, `surface`, `examples` or `contrast`"


def mechanism_cannot(spec_file: SpecFile, found: Diagnostics) -> None:
    """T308: a mechanism that only blocks is asked to amplify; a setting of another mechanism; a detector that isn't there."""
    for i, signal in enumerate(spec_file.spec.signals):
        if not isinstance(signal, Keep):
            _blocks(spec_file, i, signal, found)
            _settings(spec_file, i, signal, found)
            _fixed(spec_file, i, signal, found)
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


def uncovered_tool(spec_file: SpecFile, found: Diagnostics) -> None:
    """T326: a tool that can't carry out the mechanism; the table is `coverage`."""
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Keep):
            continue
        if signal.by == ADAPTER:
            _only_steers(spec_file, i, signal, found)
            continue
        if signal.with_ == "auto":
            continue
        readout = _readout(spec_file, signal.concept)
        why = refusal(readout, signal.with_, signal.form)
        if why is not None:
            fitting = [
                t for t in tools_for(signal.with_, signal.form) if t != "sae" or not _length(spec_file, signal.concept)
            ]
            others = ", ".join(f"`{written(tool)}`" for tool in fitting if tool != ADAPTER)
            found.add(
                "T326",
                spec_file.at(("signals", i, "with")),
                f"`{signal.concept}` is read by `{readout}`, which `{way(signal.with_, signal.form)}` can't use",
                notes=[why],
                helps=[
                    f"read it by another tool: {others}",
                    *([f"steer by what need not read it: `{written(ADAPTER)}`"] if ADAPTER in fitting else []),
                    "use another mechanism",
                ],
            )


def no_tokens(spec_file: SpecFile, found: Diagnostics) -> None:
    """T215: masks by a vector or probe of a concept whose texts were kept as means alone."""
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Keep) or signal.with_ != "tokens":
            continue
        kind, readout = spec_file.library[signal.concept].concept.kind, _readout(spec_file, signal.concept)
        if kind in ("examples", "contrast") and readout in (*get_args(VectorTool), "attention"):
            found.add(
                "T215",
                spec_file.at(("signals", i, "with")),
                f"no token of `{signal.concept}` has a threshold by `{readout}`",
                notes=[f"of the texts of a concept by `{kind}` only means over tokens are kept"],
                helps=["leave `readout` out", "define the concept by `pattern`, `words` or `surface`"],
            )


def no_labels(spec_file: SpecFile, found: Diagnostics) -> None:
    """T204: a signal that can't be told from the data, because nothing says which features bear the label."""
    labelled = {name for name, definition in spec_file.library.items() if definition.concept.label is not None}
    for i, signal in enumerate(spec_file.spec.signals if labelled else ()):
        names = {signal.concept: signal.verb} | dict.fromkeys(spec_file.apart(signal), "apart_from")
        for name, key in names.items():
            if name in labelled:
                place = spec_file.at(("signals", i, key))
                found.add("T204", place, f"`{name}` is defined by `label`", helps=[LABELLED])


def blind_gate(spec_file: SpecFile, found: Diagnostics) -> None:
    """T207: a gate that can't be told from a prompt."""
    for i, signal in enumerate(spec_file.spec.signals):
        gate = None if signal.when is None else spec_file.library[signal.when].concept
        if gate is not None and gate.audit is None and not has_detector(gate):
            found.add(
                "T207",
                spec_file.at(("signals", i, "when")),
                f"`{signal.when}` is defined by `{gate.kind}`",
                helps=["define the gate by `pattern` or `words`"],
            )


def _only_steers(spec_file: SpecFile, i: int, signal: Suppress | Amplify, found: Diagnostics) -> None:
    """`by: reft` beside anything but `with: steer`. What the concept is read by is another question, and stays open to it."""
    why = refusal(ADAPTER, signal.with_, signal.form)
    if signal.with_ == "auto":
        why = "the compiler never chooses `steer` by itself: it takes passes of the whole model"
    if why is not None:
        found.add(
            "T326",
            spec_file.at(("signals", i, "by")),
            f"`{signal.concept}` is to be changed by `{ADAPTER}`, which `{way(signal.with_, signal.form)}` can't use",
            notes=[why],
            helps=["say `with: steer`", "leave `by` out"],
        )


def _readout(spec_file: SpecFile, name: str) -> Readout:
    """What a concept is read by in the whole plan: as one of its signals asks, and a length by counting."""
    asked: Readout | None = next((s.readout for s in spec_file.spec.signals if s.concept == name and s.readout), None)
    if _length(spec_file, name) and asked in (None, "sae"):
        return "detector"
    return "sae" if asked is None else asked


def _length(spec_file: SpecFile, name: str) -> bool:
    """Is the concept a length, which no feature stands for?"""
    return name in spec_file.library and spec_file.library[name].concept.surface == "length"


def _fixed(spec_file: SpecFile, i: int, signal: Suppress | Amplify, found: Diagnostics) -> None:
    """A fixed offset needs to know which pairs lean to the concept, and nothing else."""
    if signal.offset != "fixed":
        return
    readout = _readout(spec_file, signal.concept)
    if signal.apart_from is not None:
        text = "`offset: fixed` asks which pairs lean to the concept, and what it has beyond others leans everywhere"
        helps = ["leave `offset` or `apart_from` out"]
    elif readout not in ("sae", "detector") or _length(spec_file, signal.concept):
        text = f"by `{readout}` half of all pairs lean to any concept, so `offset: fixed` is no subset of them"
        helps = ["read it by `sae` or `detector`, or leave `offset` out"]
    else:
        return
    found.add("T308", spec_file.at(("signals", i, "offset")), text, helps=helps)


def _settings(spec_file: SpecFile, i: int, signal: Suppress | Amplify, found: Diagnostics) -> None:
    for name, (owners, forward_only) in SETTINGS.items():
        if getattr(signal, name) is None:
            continue
        at = spec_file.at(("signals", i, name))
        if signal.with_ not in owners:
            text = f"`{name}` is a setting of {' and '.join(f'`with: {o}`' for o in owners)}"
            instead = "name the mechanism" if signal.with_ == "auto" else "use another mechanism"
            found.add("T308", at, text, helps=[f"remove `{name}`, or {instead}"])
        elif (forward_only or (name, signal.with_) == ("side", "steer")) and signal.form != "forward":
            found.add(
                "T308",
                at,
                f"`{name}` is a setting of `form: forward`",
                helps=["say `form: forward`", f"remove `{name}`"],
            )
