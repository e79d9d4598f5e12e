"""Filter: the fewest rows dropped (paper section 2.4). It can only take away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.protocols.base import Array, Bools, Protocol, State
from tiltc.solve import Problem, Solution, drop

if TYPE_CHECKING:
    from tiltc.resolved import ResolvedSignal
    from tiltc.spec import Budget


class Filter(Protocol):
    name = "filter"

    def solve(
        self, problem: Problem, basis: Array, state: State, signals: list[ResolvedSignal], budget: Budget
    ) -> Solution:
        return drop(problem, budget.drop)

    def apply(self, problem: Problem, basis: Array, solution: Solution, state: State) -> None:
        state.keep = state.keep & (solution.factor > 0)

    def strength(self, signal: ResolvedSignal, solved: float, solution: Solution, state: State) -> float:
        return float(self._dropped(signal, solution.factor).sum())

    def touched(self, signal: ResolvedSignal, strength: float, solution: Solution, state: State) -> Bools:
        return self._dropped(signal, solution.factor)

    @staticmethod
    def _dropped(signal: ResolvedSignal, factor: Array) -> Bools:
        return (factor == 0) & (signal.gap != 0)
