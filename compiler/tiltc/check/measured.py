"""What the evidence says about signals that look fine by name."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from tiltc.check.opposed import OPPOSED, ancestors
from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.spec import Amplify, Suppress

if TYPE_CHECKING:
    from tiltc.parse import SpecFile
    from tiltc.plan import Group
    from tiltc.resolved import ResolvedSignal, ResolvedSpec

#: share of a group's weight on common features above which two names are one reading
SHARED_WEIGHT = 0.3
#: pairs on which a signal must be able to speak
FEWEST_ROWS = 50
#: share of responses that may be truncated before a concept at their end is lost
TRUNCATED = 0.25


def _at(spec_file: SpecFile, signal: ResolvedSignal) -> Span:
    return spec_file.at(("signals", signal.index, signal.verb))


def _together(first: ResolvedSignal, second: ResolvedSignal) -> float:
    live = (first.gap != 0) | (second.gap != 0)
    if live.sum() < 3 or not first.gap[live].std() or not second.gap[live].std():
        return 0.0
    return float(np.corrcoef(first.gap[live], second.gap[live])[0, 1])


def shared_features(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T302: two names pulled two ways are read from the same features."""
    for first, second in combinations(resolved.signals, 2):
        if first.concept.plan.name == second.concept.plan.name or frozenset({first.verb, second.verb}) not in OPPOSED:
            continue
        groups = [s.concept.plan.group if s.concept.plan.readout == "sae" else None for s in (first, second)]
        apart = not ((first.gap != 0) & (second.gap != 0)).any()
        if groups[0] is None or groups[1] is None or apart:
            continue
        share, common = _overlap(groups[0], groups[1])
        if share > SHARED_WEIGHT:
            found.add(
                "T302",
                _at(spec_file, second),
                f"`{second.concept.plan.name}` is read through features {common}",
                labels=[Label(_at(spec_file, first), f"`{first.concept.plan.name}` is read through them as well")],
                notes=[
                    f"common features carry {share:.0%} of the weight; the gaps correlate at {_together(first, second):.2f}"
                ],
                helps=["read one of them by its own detector: `readout: detector`", "gate one of them: `when:`"],
            )


def _overlap(first: Group, second: Group) -> tuple[float, str]:
    one, two = ({m.feature: m.weight for m in g.members} for g in (first, second))
    common = sorted(one.keys() & two.keys())
    share = min(sum(g[f] for f in common) / sum(g.values()) for g in (one, two))
    return share, ", ".join(str(f) for f in common)


def spilling_parent(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T303: parent and child are pulled two ways, with the spill that the gaps predict."""
    for first, second in combinations(resolved.signals, 2):
        names = (first.concept.plan.name, second.concept.plan.name)
        if "suppress" not in (first.verb, second.verb) or first.verb == second.verb:
            continue
        if names[0] in ancestors(spec_file, names[1]) or names[1] in ancestors(spec_file, names[0]):
            suppressed, other = (first, second) if first.verb == "suppress" else (second, first)
            slope = _spill(suppressed, other)
            found.add(
                "T303",
                _at(spec_file, other),
                f"suppressing `{suppressed.concept.plan.name}` alone would move this by {slope:+.0%} of its signal",
                labels=[Label(_at(spec_file, suppressed), "suppressed here")],
                notes=[f"the gaps correlate at {_together(first, second):.2f}"],
            )


def _spill(suppressed: ResolvedSignal, other: ResolvedSignal) -> float:
    """First-order change of the other signal when the suppressed one is tilted to zero alone, as a share of it."""
    variance = float((suppressed.gap**2).mean())
    if not variance or not other.today:
        return 0.0
    return -suppressed.today / variance * float((suppressed.gap * other.gap).mean()) / other.today


def absent_signal(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T305: the data doesn't carry the signal that is to be changed."""
    for signal in resolved.signals:
        relative = isinstance(signal.ask, Suppress) or (isinstance(signal.ask, Amplify) and signal.ask.to.sd is None)
        if signal.gate is not None and signal.gate.present is not None and not signal.gate.present.any():
            continue
        low, high = signal.today - 1.96 * signal.se, signal.today + 1.96 * signal.se
        if not relative or not low <= 0 <= high:
            continue
        found.add(
            "T305",
            _at(spec_file, signal),
            f"this data teaches nothing measurable about `{signal.concept.plan.name}`",
            notes=[
                f"mean gap {signal.today:+.4f} sd (95% {low:+.4f} to {high:+.4f}, {int(resolved.pairs.usable.sum())} pairs)"
            ],
            helps=["drop the signal"]
            + (["ask for an absolute amount: `to: 0.1sd`"] if signal.verb == "amplify" else []),
        )


def against_the_data(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T316: a multiple of a signal that points to rejected would teach less of the concept, not more."""
    for signal in resolved.signals:
        if isinstance(signal.ask, Amplify) and signal.ask.to.sd is None and signal.today + 1.96 * signal.se < 0:
            found.add(
                "T316",
                _at(spec_file, signal),
                f"this data teaches against `{signal.concept.plan.name}`",
                notes=[f"mean gap {signal.today:+.4f} sd: a multiple of it is further from what is asked"],
                helps=["ask for an absolute amount: `to: 0.1sd`"],
            )


def closed_gate(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T307: a gate that opens for no pair."""
    for signal in resolved.signals:
        gate = signal.gate
        if gate is None or gate.present is None:
            continue
        opened = int((gate.present & resolved.pairs.usable).sum())
        if opened == 0:
            found.add(
                "T307",
                spec_file.at(("signals", signal.index, "when")),
                f"`{gate.plan.name}` opens for none of {len(gate.present)} pairs",
            )


def few_rows(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T306: too few pairs behind a gate, or too few that differ in the concept."""
    for signal in resolved.signals:
        gated = signal.gate is not None and signal.gate.present is not None
        rows = signal.gate.present & resolved.pairs.usable if gated else signal.gap != 0  # type: ignore[union-attr]
        count = int(rows.sum())
        if 0 < count < FEWEST_ROWS:
            found.add(
                "T306",
                spec_file.at(("signals", signal.index, "when" if gated else signal.verb)),
                f"{count} pairs speak about `{signal.concept.plan.name}` here",
                notes=[f"fewer than {FEWEST_ROWS}: the solved strength would follow the noise of single pairs"],
            )


def truncated_concept(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T311: truncation cuts the responses, and with them whatever stands at their end."""
    if resolved.pairs.cut_share > TRUNCATED:
        found.add(
            "T311",
            spec_file.at(("train", "max_length")),
            f"{resolved.pairs.cut_share:.0%} of the pairs have a truncated response",
            notes=["what stands beyond is seen by no detector, no feature and no training"],
            helps=["raise `train.max_length`"],
        )
