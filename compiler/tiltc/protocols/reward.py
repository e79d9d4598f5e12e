"""Reward: an offset inside the sigmoid, o = sum of strength times gap (paper section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.protocols.base import Array, Protocol, State
from tiltc.solve import Problem, Solution, tilt_along

if TYPE_CHECKING:
    from tiltc.resolved import ResolvedSignal
    from tiltc.spec import Budget


class Reward(Protocol):
    name = "reward"

    def solve(
        self, problem: Problem, basis: Array, state: State, signals: list[ResolvedSignal], budget: Budget
    ) -> Solution:
        return tilt_along(problem, basis)

    def apply(self, problem: Problem, basis: Array, solution: Solution, state: State) -> None:
        state.offset = problem.offset + basis @ solution.strength - state.implied
