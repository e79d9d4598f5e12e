"""What the evidence says about signals that look fine by name."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from tiltc.check.opposed import OPPOSED, related
from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.solve import REWARD, Problem, tilt
from tiltc.spec import Amplify, Suppress

if TYPE_CHECKING:
    from tiltc.parse import SpecFile
    from tiltc.plan import Group
    from tiltc.resolved import ResolvedSignal, ResolvedSpec

#: share of a group's weight on common features above which two names are one reading
SHARED_WEIGHT = 0.3
#: pairs on which a signal must be able to speak
FEWEST_ROWS = 50
#: share of a concept's squared gap that what it is told apart from may explain
EXPLAINED = 0.9
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
    """T302: two names pulled two ways are read from the same features.

    A parent and its child share features by nature, and so does what a regression has told apart: there the solver refuses.
    """
    for first, second in combinations(resolved.signals, 2):
        names = first.concept.plan.name, second.concept.plan.name
        if names[0] == names[1] or frozenset({first.verb, second.verb}) not in OPPOSED:
            continue
        if related(spec_file, *names) or first.apart is not None or second.apart is not None:
            continue
        groups = [s.concept.plan.group if s.concept.plan.readout == "sae" else None for s in (first, second)]
        apart = not ((first.gap != 0) & (second.gap != 0)).any()
        if groups[0] is None or groups[1] is None or apart:
            continue
        share, common = overlap(groups[0], groups[1])
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


def overlap(first: Group, second: Group) -> tuple[float, str]:
    """The smaller share of two groups' weights that their common features carry, and these features."""
    one, two = ({m.feature: m.weight for m in g.members} for g in (first, second))
    common = sorted(one.keys() & two.keys())
    share = min(sum(g[f] for f in common) / sum(g.values()) for g in (one, two))
    return share, ", ".join(str(f) for f in common)


def spilling_parent(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T303: parent and child are pulled two ways, with the spill that the gaps predict."""
    for first, second in combinations(resolved.signals, 2):
        names = (first.concept.plan.name, second.concept.plan.name)
        if "suppress" not in (first.verb, second.verb) or first.verb == second.verb or not related(spec_file, *names):
            continue
        suppressed, other = (first, second) if first.verb == "suppress" else (second, first)
        spill = _spill(suppressed, other, resolved)
        if spill is not None and abs(spill) > getattr(other.ask, "within", 0.0):
            found.add(
                "T303",
                _at(spec_file, other),
                f"suppressing `{suppressed.label}` alone would move this by {spill:+.0%} of its signal",
                labels=[Label(_at(spec_file, suppressed), "suppressed here")],
                notes=[f"the gaps correlate at {_together(first, second):.2f}"],
            )


def _spill(suppressed: ResolvedSignal, other: ResolvedSignal, resolved: ResolvedSpec) -> float | None:
    """Change of the other signal when the suppressed one alone is taken to its target by a reward term, as a share of it.

    None where that can't be reached: the solver says so by itself.
    """
    assert isinstance(suppressed.ask, Suppress)
    base = resolved.pairs.usable.astype(np.float64)
    target, tolerance = suppressed.ask.to * suppressed.today, suppressed.ask.within * abs(suppressed.today)
    solution = tilt(Problem(suppressed.gap[:, None], base, np.array([target]), np.array([tolerance])), REWARD)
    if not solution.feasible or not other.today:
        return None
    return float((other.gap * (solution.factor - 1)).mean()) / other.today


def explained_away(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T325: what a signal is told apart from explains nearly all of it."""
    for signal in resolved.signals:
        apart = signal.apart
        if apart is None or apart.explained <= EXPLAINED:
            continue
        largest = sorted(apart.coefficients.items(), key=lambda item: -abs(item[1]))[:3]
        found.add(
            "T325",
            spec_file.at(("signals", signal.index, "apart_from")),
            f"{apart.explained:.1%} of `{signal.concept.plan.name}` is explained by what it is told apart from",
            notes=[
                f"share of the squared gap; more than {EXPLAINED:.0%} leaves little to change",
                "coefficients: " + ", ".join(f"`{name}` {b:+.2f}" for name, b in largest),
            ],
            helps=["suppress the concept as a whole and `keep:` the others: the solver says whether both can be met"],
        )


def absent_signal(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T305: the data doesn't carry the signal that is to be changed."""
    for signal in resolved.signals:
        relative = isinstance(signal.ask, Suppress) or (isinstance(signal.ask, Amplify) and signal.ask.to.sd is None)
        if signal.gate is not None and signal.gate.present is not None and not signal.gate.present.any():
            continue
        low, high = signal.today - 1.96 * signal.se, signal.today + 1.96 * signal.se
        if not relative or not low <= 0 <= high:
            continue
        if _matchless(signal):
            _report_matchless(spec_file, signal, 2 * int(resolved.pairs.usable.sum()), found)
            continue
        found.add(
            "T305",
            _at(spec_file, signal),
            f"this data teaches nothing measurable about `{signal.label}`",
            notes=[
                f"mean gap {signal.today:+.4f} sd (95% {low:+.4f} to {high:+.4f}, {int(resolved.pairs.usable.sum())} pairs)"
            ],
            helps=["drop the signal"]
            + (["ask for an absolute amount: `to: 0.1sd`"] if signal.verb == "amplify" else []),
        )


def _matchless(signal: ResolvedSignal) -> bool:
    """Whether the concept's own pattern or words, by which it is read, are found in no text at all."""
    plan = signal.concept.plan
    return plan.readout == "detector" and plan.definition.kind in ("pattern", "words") and plan.detector_mean == 0


def _report_matchless(spec_file: SpecFile, signal: ResolvedSignal, texts: int, found: Diagnostics) -> None:
    """T305, which blames the definition: data that lacks a thing is rarer than a pattern that can't match it."""
    name, definition = signal.concept.plan.name, signal.concept.plan.definition
    found.add(
        "T305",
        _at(spec_file, signal),
        f"the `{definition.kind}` of `{name}` matches none of {texts:,} texts",
        labels=[Label(at, "defined here") for at in [spec_file.definition_at(name, definition.kind)] if at],
        helps=["try the definition on a text that should show it", "drop the signal where the data has no such text"],
    )


def against_the_data(spec_file: SpecFile, resolved: ResolvedSpec, found: Diagnostics) -> None:
    """T316: a multiple of a signal that points to rejected would teach less of the concept, not more."""
    for signal in resolved.signals:
        if isinstance(signal.ask, Amplify) and signal.ask.to.sd is None and signal.today + 1.96 * signal.se < 0:
            found.add(
                "T316",
                _at(spec_file, signal),
                f"this data teaches against `{signal.label}`",
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
