"""Reward: an offset inside the sigmoid, o = sum of strength times gap (paper section 2.2).

With `offset: fixed` a signal's strength is the offset itself, the same for every pair that leans to the concept (paper
section 2.5: behind a gate, these are the pairs of one prompt cluster and one feature cluster).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiltc.protocols.base import Array, Bools, Protocol, State
from tiltc.solve import Problem, Solution, tilt_along

if TYPE_CHECKING:
    from tiltc.resolved import ResolvedSignal
    from tiltc.spec import Budget


class Reward(Protocol):
    name = "reward"

    def column(self, signal: ResolvedSignal, state: State) -> Array:
        gap = state.gap(signal)
        return (gap > 0).astype(np.float64) if getattr(signal.ask, "offset", None) == "fixed" else gap

    def touched(self, signal: ResolvedSignal, strength: float, solution: Solution, state: State) -> Bools:
        return (self.column(signal, state) != 0) & (strength != 0)

    def solve(
        self, problem: Problem, basis: Array, state: State, signals: list[ResolvedSignal], budget: Budget
    ) -> Solution:
        return tilt_along(problem, basis)

    def apply(self, problem: Problem, basis: Array, solution: Solution, state: State) -> None:
        state.offset = problem.offset + basis @ solution.strength - state.implied
