"""Signals that repeat each other or ask for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import SpecFile
from tiltc.spec import Amplify, Keep


def repeated_signals(file: SpecFile) -> Iterator[Diagnostic]:
    """The same verb, concept and gate twice."""
    first: dict[tuple[str, str, str | None], int] = {}
    for index, signal in enumerate(file.spec.signals):
        same = first.setdefault((signal.verb, signal.concept, signal.when), index)
        if same != index:
            earlier = Label(file.at(("signals", same, signal.verb)), "first given here")
            at = file.at(("signals", index, signal.verb))
            yield Diagnostic("T136", Label(at, f"`{signal.verb}: {signal.concept}` is given again"), labels=(earlier,))


def two_readouts(file: SpecFile) -> Iterator[Diagnostic]:
    """One concept, to be read two ways. A name has one readout in a plan."""
    first: dict[str, int] = {}
    for index, signal in enumerate(file.spec.signals):
        if signal.readout is None:
            continue
        earlier = first.setdefault(signal.concept, index)
        readout = file.spec.signals[earlier].readout
        if readout != signal.readout:
            at = file.at(("signals", index, "readout"))
            label = Label(file.at(("signals", earlier, "readout")), f"read by `{readout}` here")
            yield Diagnostic(
                "T138", Label(at, f"`{signal.concept}` is read by `{signal.readout}` here"), labels=(label,)
            )


def idle_amplify(file: SpecFile) -> Iterator[Diagnostic]:
    """An amplify whose target is what the data teaches already, or less."""
    for index, signal in enumerate(file.spec.signals):
        if not isinstance(signal, Amplify):
            continue
        times, sd = signal.to.times, signal.to.sd
        if (times is not None and times <= 1) or (sd is not None and sd == 0):
            text = "this is today's signal" if times == 1 else "this is less than today's signal"
            help = f"ask for more, such as `2x`, or write `keep: {signal.concept}`"
            yield Diagnostic("T137", Label(file.at(("signals", index, "to")), text), helps=(help,))


def unclear_target(file: SpecFile) -> Iterator[Diagnostic]:
    """An amplify target that gives both a factor and a signal, or neither."""
    for index, signal in enumerate(file.spec.signals):
        if isinstance(signal, Amplify) and (signal.to.times is None) == (signal.to.sd is None):
            text = "give either `times` or `sd`"
            yield Diagnostic(
                "T122", Label(file.at(("signals", index, "to"), key=True), text), helps=("write `to: 2x`",)
            )


def nobody_apart(file: SpecFile) -> Iterator[Diagnostic]:
    """A signal that is to be told apart from nobody, or from itself."""
    for index, signal in enumerate(file.spec.signals):
        if isinstance(signal, Keep) or signal.apart_from is None:
            continue
        asked, name, at = signal.apart_from, signal.concept, file.at(("signals", index, "apart_from"))
        if isinstance(asked, tuple) and name in asked:
            at = file.at(("signals", index, "apart_from", asked.index(name)))
            yield Diagnostic(
                "T139", Label(at, f"`{name}` is not apart from itself"), helps=("take it out of the list",)
            )
        elif not isinstance(asked, tuple) and not file.apart(signal):
            text = "nothing else is kept in this spec" if asked == "keeps" else f"`{name}` has no {asked}"
            helps = ("name the concepts: `apart_from: [NAME]`", *_HELPS[asked])
            yield Diagnostic("T139", Label(at, text), helps=helps)


_HELPS = {
    "parents": ("give its definition `parents:`",),
    "siblings": ("siblings are the other concepts with one of its `parents:`",),
    "keeps": (),
}
