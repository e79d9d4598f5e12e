"""Signals that pull against each other by name alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from operator import or_
from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics, Label
from tiltc.family import Tree, ancestors, ancestors_among, kin_of

if TYPE_CHECKING:
    from tiltc.parse import SpecFile
    from tiltc.spec import Signal

PAST = {"suppress": "suppressed", "keep": "kept", "amplify": "amplified"}
#: verbs that can't both hold for one concept on the same pairs
OPPOSED = frozenset(
    {frozenset({"suppress", "keep"}), frozenset({"suppress", "amplify"}), frozenset({"keep", "amplify"})}
)


def _meet(first: Signal, second: Signal) -> bool:
    """True when the two can apply to the same pair: the same gate, or one of them without a gate."""
    return first.when == second.when or first.when is None or second.when is None


def same_concept(spec_file: SpecFile, found: Diagnostics) -> None:
    """T301: one concept, two verbs."""
    for (i, first), (j, second) in combinations(enumerate(spec_file.spec.signals), 2):
        if first.concept == second.concept and frozenset({first.verb, second.verb}) in OPPOSED and _meet(first, second):
            found.add(
                "T301",
                spec_file.at(("signals", j, second.verb)),
                f"`{second.concept}` is {PAST[second.verb]} here",
                labels=[Label(spec_file.at(("signals", i, first.verb)), f"{PAST[first.verb]} here")],
                helps=["drop one of the two, or give them different gates with `when:`"],
            )


def family(spec_file: SpecFile, found: Diagnostics) -> None:
    """T304: a parent is suppressed while its child is kept or amplified, or the reverse."""
    above = ancestors_among(spec_file.tree, [signal.concept for signal in spec_file.spec.signals])
    apart = [spec_file.apart(signal) for signal in spec_file.spec.signals]
    for (i, first), (j, second) in combinations(enumerate(spec_file.spec.signals), 2):
        if "suppress" not in (first.verb, second.verb) or first.verb == second.verb or not _meet(first, second):
            continue
        parent = _parent(above, first.concept, second.concept)
        if parent and second.concept not in apart[i] and first.concept not in apart[j]:
            child = second.concept if parent == first.concept else first.concept
            found.add(
                "T304",
                spec_file.at(("signals", j, second.verb)),
                f"`{second.concept}` is {PAST[second.verb]} here",
                labels=[
                    Label(spec_file.at(("signals", i, first.verb)), f"`{first.concept}` is {PAST[first.verb]} here")
                ],
                notes=[f"`{child}` is a kind of `{parent}`"],
                helps=[
                    f"name the children of `{parent}` that you mean instead of `{parent}` itself",
                    "tell the one that changes apart from the other: `apart_from: [NAME]`",
                ],
            )


def moving_ground(spec_file: SpecFile, found: Diagnostics) -> None:
    """T327: a concept is told apart from another that a second signal changes."""
    signals = spec_file.spec.signals
    asking = [(i, signal, apart) for i, signal in enumerate(signals) if (apart := spec_file.apart(signal))]
    movers = _movers(spec_file.tree, signals) if asking else {}
    for i, signal, apart in asking:
        moving = reduce(or_, (movers[name] for name in apart if name in movers), 0)
        for j, other in enumerate(signals):
            if moving >> j & 1 and signal.concept != other.concept and _meet(signal, other):
                moved = next(name for name in apart if movers.get(name, 0) >> j & 1)
                found.add(
                    "T327",
                    spec_file.at(("signals", i, "apart_from")),
                    f"`{signal.concept}` is told apart from `{moved}`, which does not stay",
                    labels=[
                        Label(spec_file.at(("signals", j, other.verb)), f"`{other.concept}` is {PAST[other.verb]} here")
                    ],
                    helps=["leave `apart_from` out where the others change as well"],
                )
                break


def _parent(above: dict[str, set[str]], first: str, second: str) -> str | None:
    if first in above[second]:
        return first
    return second if second in above[first] else None


def _movers(tree: Tree, signals: Sequence[Signal]) -> dict[str, int]:
    """The signals that change each concept, itself or what it is a kind of or what is a kind of it, as bits."""
    changing: dict[str, int] = {}
    for j, signal in enumerate(signals):
        if signal.verb != "keep":
            changing[signal.concept] = changing.get(signal.concept, 0) | 1 << j
    return kin_of(tree, changing)


def related(spec_file: SpecFile, first: str, second: str) -> bool:
    """True when one is a kind of the other."""
    return first in ancestors(spec_file.tree, second) or second in ancestors(spec_file.tree, first)
