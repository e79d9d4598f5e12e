"""Choose: give each signal its mechanism, and solve (design section 7).

Mechanisms run in the order of `PROTOCOLS`. Each one meets the constraints of its own signals and of all keeps,
and holds what the earlier ones reached, so that the whole plan meets the whole spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.check.coverage import refusal
from tiltc.check.methods import admissible
from tiltc.defined import check_defined
from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.plan import Built
from tiltc.protocols import PROTOCOLS, Band, Decision, Protocol, State
from tiltc.resolved import CheckedSpec, ResolvedSignal
from tiltc.solve import REWARD, Problem, Solution, drop, effective_sample, tilt
from tiltc.spec import Amplify, Keep, Spec, Suppress

if TYPE_CHECKING:
    from tiltc.parse import SpecFile

Array = npt.NDArray[np.float64]

#: no tolerance is finer than this share of a signal's own standard error: the data can't tell the difference
FINEST = 0.25
#: an offset beyond this leaves less than 0.25% of a pair's gradient
SATURATED = 6.0
#: a concept is one-sided when fewer than this share of the pairs that differ in it lean the other way
ONE_SIDED = 0.02


@dataclass(frozen=True)
class Solved:
    """The plan as numbers, one entry per pair: keep, weight (mean 1 over kept rows), margin offset in logits, whether its
    token masks are in place, the logits that forward forms amount to, and by signal the rows of these."""

    checked: CheckedSpec
    keep: npt.NDArray[np.bool_]
    weight: Array
    offset: Array
    masked: npt.NDArray[np.bool_]
    implied: Array
    forward: dict[int, npt.NDArray[np.bool_]]
    bands: tuple[Band, ...]
    decisions: tuple[Decision, ...]

    @property
    def factor(self) -> Array:
        """m w 2 sigmoid(-o): what each pair's first-step gradient is multiplied with (n,)."""
        return self.keep * self.weight * (1 - np.tanh(0.5 * (self.offset + self.implied)))


def choose(spec_file: SpecFile, checked: CheckedSpec) -> tuple[Solved | None, Diagnostics]:
    """Solve the spec. All infeasibilities are reported with the signals that cause them."""
    found = Diagnostics()
    bands = tuple(_band(s) for s in checked.resolved.signals)
    state = State.untouched(checked.resolved)
    assigned = _assign(bands, spec_file.spec, state)
    for protocol in PROTOCOLS:
        active = [b for b in bands if assigned.get(b.signal.index, ("", ""))[0] == protocol.name]
        if active:
            _run(spec_file, protocol, active, bands, assigned, state, found)
    if not found.failed:
        for band in bands:
            if band.signal.index in state.forward or getattr(band.signal.ask, "strength", None) is not None:
                _missed(spec_file, band, state, found)
        _spend(spec_file, state, found)
    parts = (state.keep, state.weight, state.offset, state.masked, state.implied, state.forward)
    solved = Solved(checked, *parts, bands, tuple(state.done))
    if found.failed:
        return None, found
    check_defined(spec_file, solved, found)
    return solved, found


def _band(signal: ResolvedSignal) -> Band:
    """The constraint a signal stands for; its tolerance is never finer than the data's own noise allows."""
    ask, today = signal.ask, signal.today
    floor = FINEST * signal.se
    if isinstance(ask, Suppress):
        target = ask.to * today
    elif isinstance(ask, Keep):
        target = today
    elif ask.to.sd is not None:
        target = ask.to.sd
    else:
        target = (ask.to.times or 0.0) * today
    least = floor if isinstance(ask, Keep) else min(floor, 0.05 * abs(today))
    size = max(abs(today), abs(target)) if isinstance(ask, Amplify) and ask.to.sd is not None else abs(today)
    return Band(signal, target, max(ask.within * size, least))


def _assign(bands: tuple[Band, ...], spec: Spec, state: State) -> dict[int, tuple[Built, str]]:
    """Mechanism and reason for every signal that asks for a change."""
    out: dict[int, tuple[Built, str]] = {}
    for band in bands:
        ask = band.signal.ask
        if isinstance(ask, Keep):
            continue
        if ask.with_ == "auto" and ask.strength is not None:
            out[band.signal.index] = (_tilted(spec), "a strength is given, and a strength is a tilt's")
        elif ask.with_ == "auto":
            out[band.signal.index] = _auto(band, spec, state)
        else:
            forward = "; the forecast counts its first-step offset, not what is learned apart from it"
            fixed = "; the same offset, in logits, for every pair that leans to it"
            said = "asked for in the spec" + (forward if ask.form == "forward" else "")
            said += fixed if ask.offset == "fixed" else ""
            out[band.signal.index] = (ask.with_, said)
    return out


def _tilted(spec: Spec) -> Built:
    """The tilt that the training method has a place for."""
    return "reward" if "reward" in admissible(spec.train.method, spec.train.loss) else "reweight"


def _auto(band: Band, spec: Spec, state: State) -> tuple[Built, str]:
    """Few rows carry it: filter. Otherwise a reward term, which drops nothing; to amplify past its reach, weights.

    Where the training method has no place for a reward term, weights in its stead.
    """
    signal, budget = band.signal, spec.budget
    tilted = _tilted(spec)
    instead = "" if tilted == "reward" else f"; `{spec.train.method}` has no place for a reward term"
    problem = Problem(signal.gap[:, None], state.base, np.array([band.target]), np.array([band.tolerance]))
    if isinstance(signal.ask, Suppress) and refusal(signal.concept.plan.readout, "filter") is None:
        dropped = drop(problem, budget.drop)
        if dropped.feasible:
            rows = int((dropped.factor == 0).sum())
            return "filter", f"dropping {rows} of {len(signal.gap)} pairs is enough (budget {budget.drop:.0%})"
        return tilted, f"too many pairs carry it for a filter within {budget.drop:.0%}{instead}"
    if tilted == "reweight":
        return tilted, instead.removeprefix("; ")
    if tilt(problem, REWARD).feasible:
        return "reward", "a reward term reaches the target"
    return "reweight", "more than a reward term can give: a pair counts at most twice under an offset"


def _run(
    spec_file: SpecFile,
    protocol: Protocol,
    active: list[Band],
    bands: tuple[Band, ...],
    assigned: dict[int, tuple[Built, str]],
    state: State,
    found: Diagnostics,
) -> None:
    """Solve one protocol for its signals, all keeps and all that earlier mechanisms settled."""
    settled = _settled(state)
    fixed = [b for b in active if protocol.fixed(b.signal)]
    for band in fixed:
        protocol.settle(band.signal, state, spec_file.spec.train)
    held = [b for b in bands if isinstance(b.signal.ask, Keep)] + settled
    solving = [b for b in active if b not in fixed] + held
    by_hand = (_by_hand(b) * protocol.column(b.signal, state) for b in fixed)
    problem = Problem(
        _columns([state.gap(b.signal) for b in solving], state),
        state.base,
        np.array([b.target for b in solving]),
        np.array([b.tolerance for b in solving]),
        sum(by_hand, state.margin),
    )
    columns = [protocol.column(b.signal, state) if b in active else state.gap(b.signal) for b in solving]
    basis = _columns(columns, state)
    solution = protocol.solve(problem, basis, state, [b.signal for b in solving], spec_file.spec.budget)
    auto = [b for b in active if _with(b) == "auto"]
    if not solution.feasible and protocol.name == "filter" and auto:
        for band in auto:
            assigned[band.signal.index] = (
                _tilted(spec_file.spec),
                "with the other signals, a filter exceeds the budget",
            )
        if rest := [b for b in active if b not in auto]:
            _run(spec_file, protocol, rest, bands, assigned, state, found)
        return
    if not solution.feasible:
        _infeasible(spec_file, protocol.name, problem, solution, solving, found)
        return
    strength = {b.signal.index: float(s) for b, s in zip(solving, solution.strength, strict=True)}
    strength |= {b.signal.index: _by_hand(b) for b in fixed}
    decisions = [
        _decision(band, protocol, strength[band.signal.index], assigned, solution, state)
        for band in [*active, *[b for b in held if strength[b.signal.index]]]
    ]
    protocol.apply(problem, basis, solution, state)
    state.done.extend(decisions)


def _columns(columns: list[Array], state: State) -> Array:
    """(n, c)"""
    return np.column_stack(columns) if columns else np.zeros((len(state.keep), 0))


def _settled(state: State) -> list[Band]:
    """Signals that an earlier mechanism solved: held where they are. Keeps are held anyway; given strengths and forward
    forms are where the spec puts them."""
    unique = {d.band.signal.index: d.band for d in state.done}
    return [
        b
        for b in unique.values()
        if not isinstance(b.signal.ask, Keep) and b.signal.ask.strength is None and b.signal.index not in state.forward
    ]


def _with(band: Band) -> str:
    return getattr(band.signal.ask, "with_", "")


def _by_hand(band: Band) -> float:
    """A strength given by hand is a size; its sign is the one that moves the signal toward its target. 0 without one."""
    size = float(band.signal.ask.strength or 0.0)  # type: ignore[union-attr]
    return size if band.target < band.signal.today else -size


def _decision(
    band: Band,
    protocol: Protocol,
    solved: float,
    assigned: dict[int, tuple[Built, str]],
    solution: Solution,
    state: State,
) -> Decision:
    size = protocol.strength(band.signal, solved, solution, state)
    because = assigned.get(band.signal.index, ("", "compensates what the other signals would drag along"))[1]
    mine = assigned.get(band.signal.index, ("", ""))[0] == protocol.name
    mechanism = protocol.name if mine else protocol.compensates
    return Decision(band, mechanism, size, because, protocol.touched(band.signal, size, solution, state))


def _place(spec_file: SpecFile, band: Band) -> Span:
    return spec_file.at(("signals", band.signal.index, band.signal.verb))


def _infeasible(
    spec_file: SpecFile, mechanism: Built, problem: Problem, solution: Solution, solving: list[Band], found: Diagnostics
) -> None:
    clash = [solving[i] for i in solution.certificate] or solving
    first = next((b for b in clash if not isinstance(b.signal.ask, Keep)), clash[0])
    others = [Label(_place(spec_file, b), f"with `{b.signal.verb}: {b.signal.label}`") for b in clash if b is not first]
    name = first.signal.label
    if mechanism == "filter":
        found.add(
            "T402",
            _place(spec_file, first),
            f"dropping rows can't settle `{name}` within {spec_file.spec.budget.drop:.0%}",
            labels=others,
            notes=[f"share of rows that would have to go: {solution.shortfall:.0%}"] if solution.shortfall else [],
            helps=["use `with: reward`", "raise `budget.drop`"],
        )
        return
    if mechanism == "tokens" and solution.masked is not None:
        _unmasked(spec_file, problem, solution, clash, first, found)
        return
    sides = [_sides(b) for b in clash]
    if len(clash) == 1 and min(sides[0]) < ONE_SIDED * sum(sides[0]) and isinstance(first.signal.ask, Suppress):
        found.add(
            "T404",
            _place(spec_file, first),
            f"`{name}` is on one side in all pairs that differ in it",
            notes=[f"{sides[0][0]} pairs lean to chosen, {sides[0][1]} to rejected"],
            helps=["use `with: filter` or `with: tokens`", "leave a share of it: `to: 20%`"],
        )
        return
    notes = [_line(b) for b in clash] + _correlation(clash)
    if solution.left is not None:
        notes.append("other offsets would meet the constraints, multiples of these likelihood differences don't")
    elif solution.shortfall:
        notes.append(
            f"least total violation: {solution.shortfall:.0%} of the signals; each constraint named here is needed for it"
        )
    else:
        notes.append("the constraints hold in the limit of an infinite strength only: some pairs would count nothing")
    found.add(
        "T401",
        _place(spec_file, first),
        f"no {mechanism} plan settles `{name}` as asked",
        labels=others,
        notes=notes,
        helps=["widen `within`, ask for less with `to:`, or gate one: `when:`"],
    )


def _unmasked(
    spec_file: SpecFile, problem: Problem, solution: Solution, clash: list[Band], first: Band, found: Diagnostics
) -> None:
    """T408: all masks are in place, and a signal is not where it is wanted."""
    assert solution.left is not None
    left = solution.left[list(solution.certificate)].tolist()
    named = list(zip(clash, left, strict=True))
    found.add(
        "T408",
        _place(spec_file, first),
        f"with its tokens masked, `{first.signal.label}` is not where it is wanted",
        notes=[f"{_line(b)}, with the masks {value:+.4f}" for b, value in named],
        helps=[
            *[advice for band, value in named if (advice := _less_or_more(band, value))][:1],
            "widen `within`, or use `with: reward`, which is solved for",
        ],
    )


def _less_or_more(band: Band, left: float) -> str | None:
    """Which way a signal's masks would have to go: less where they take more than was asked. None where it has none, or
    where no unit goes further that way."""
    ask = band.signal.ask
    if isinstance(ask, Keep) or ask.with_ != "tokens":
        return None
    if ask.side is not None:
        return f"mask both sides: leave out `side: {ask.side}`"
    unit = ask.unit or "word"
    wanted, got = band.target - band.signal.today, left - band.signal.today
    if got * wanted < 0:
        return None
    if abs(got) > abs(wanted):
        return (
            None if unit == "token" else f"mask less around each token: `unit: {'word' if unit == 'span' else 'token'}`"
        )
    return None if unit == "span" else "mask more around each token: `unit: span`"


def _sides(band: Band) -> tuple[int, int]:
    return int((band.signal.gap > 0).sum()), int((band.signal.gap < 0).sum())


def _line(band: Band) -> str:
    return (
        f"{band.signal.verb} {band.signal.label}: signal today {band.signal.today:+.4f}, "
        f"allowed {band.target - band.tolerance:+.4f} to {band.target + band.tolerance:+.4f}"
    )


def _correlation(clash: list[Band]) -> list[str]:
    if len(clash) != 2:
        return []
    a, b = clash[0].signal.gap, clash[1].signal.gap
    return (
        [f"gaps correlate at {float(np.corrcoef(a, b)[0, 1]):.2f} over {len(a)} pairs"] if a.any() and b.any() else []
    )


def _missed(spec_file: SpecFile, band: Band, state: State, found: Diagnostics) -> None:
    factor = state.base * (1 - np.tanh(0.5 * state.margin))
    reached = float((state.gap(band.signal) * factor).mean())
    if abs(reached - band.target) <= band.tolerance * (1 + 1e-6):
        return
    forward, name = band.signal.index in state.forward, band.signal.label
    found.add(
        "T407",
        spec_file.at(("signals", band.signal.index, "form" if forward else "strength")),
        f"at its first step this form takes `{name}` to {reached:+.4f}"
        if forward
        else f"this strength takes `{name}` to {reached:+.4f}",
        notes=[_line(band), *(["what training under it leaves is not forecast"] if forward else [])],
        helps=["`tiltc verify` measures it; leave `form` out to have a strength solved"]
        if forward
        else ["remove `strength` to have it solved"],
    )


def _spend(spec_file: SpecFile, state: State, found: Diagnostics) -> None:
    least = spec_file.spec.budget.effective_sample
    factor = 1 - np.tanh(0.5 * state.margin)
    reached = effective_sample(factor, state.base)
    if reached < least:
        found.add(
            "T403",
            spec_file.at(("budget", "effective_sample")),
            f"the plan leaves an effective sample of {reached:.0%}, the budget asks for {least:.0%}",
            helps=[
                f"a budget of {np.floor(reached * 100):.0f}% would allow it",
                "widen `within` or ask for less with `to:`",
            ],
        )
    large = float((np.abs(state.offset) > SATURATED).mean())
    if large > 0.01:
        found.add(
            "T406",
            spec_file.at(("signals",)),
            f"{large:.0%} of the pairs get an offset beyond {SATURATED:g} logits",
            notes=[f"largest: {np.abs(state.offset).max():.1f}"],
        )
