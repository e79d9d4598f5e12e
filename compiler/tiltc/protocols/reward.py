"""Reward: an offset inside the sigmoid, o = sum of strength times gap (paper section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.protocols.base import Protocol, State
from tiltc.solve import REWARD, Problem, Solution, tilt

if TYPE_CHECKING:
    from tiltc.resolved import ResolvedSignal
    from tiltc.spec import Budget


class Reward(Protocol):
    name = "reward"

    def solve(self, problem: Problem, state: State, signals: list[ResolvedSignal], budget: Budget) -> Solution:
        return tilt(problem, REWARD)

    def apply(self, problem: Problem, solution: Solution, state: State) -> None:
        state.offset = state.offset + problem.offset + problem.gaps @ solution.strength
