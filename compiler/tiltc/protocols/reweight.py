"""Reweight: weights closest to uniform in KL, w ~ exp(-sum of strength times gap): entropy balancing (design section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.protocols.base import Array, Protocol, State
from tiltc.solve import REWEIGHT, Problem, Solution, tilt

if TYPE_CHECKING:
    from tiltc.resolved import ResolvedSignal
    from tiltc.spec import Budget


class Reweight(Protocol):
    name = "reweight"

    def solve(
        self, problem: Problem, basis: Array, state: State, signals: list[ResolvedSignal], budget: Budget
    ) -> Solution:
        return tilt(problem, REWEIGHT)

    def apply(self, problem: Problem, basis: Array, solution: Solution, state: State) -> None:
        state.weight = state.weight * solution.factor
