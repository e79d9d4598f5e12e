"""Signals that pull against each other by name alone."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics, Label
from tiltc.family import Tree, ancestors, ancestors_among, upside_down

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
    kin: dict[str, set[str]] = {}
    for i, signal in enumerate(signals):
        apart = spec_file.apart(signal)
        if not apart:
            continue
        kin = kin or _kin(spec_file.tree, {other.concept for other in signals})
        for j, other in enumerate(signals):
            if signal.concept == other.concept or other.verb == "keep" or not _meet(signal, other):
                continue
            moved = [n for n in apart if n in kin[other.concept]]
            if moved:
                found.add(
                    "T327",
                    spec_file.at(("signals", i, "apart_from")),
                    f"`{signal.concept}` is told apart from `{moved[0]}`, which does not stay",
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


def _kin(tree: Tree, names: set[str]) -> dict[str, set[str]]:
    """Each concept, what it is a kind of, and what is a kind of it."""
    below = upside_down(tree)
    return {name: {name} | ancestors(tree, name) | ancestors(below, name) for name in names}


def related(spec_file: SpecFile, first: str, second: str) -> bool:
    """True when one is a kind of the other."""
    return first in ancestors(spec_file.tree, second) or second in ancestors(spec_file.tree, first)
