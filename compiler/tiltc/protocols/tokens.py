"""Tokens: no loss on the tokens that carry a concept (paper section 2.4). It can only take away.

A suppression to nothing masks them on every row, on both sides: what carries no loss teaches nothing, however far
training goes. A share that may stay (`to:`) leaves rows alone: the fewest are masked that reach it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiltc.protocols.base import Array, Bools, Protocol, State
from tiltc.solve import Problem, Solution, mask
from tiltc.spec import Suppress

if TYPE_CHECKING:
    from tiltc.resolved import ResolvedSignal
    from tiltc.spec import Budget


class Tokens(Protocol):
    name = "tokens"

    def solve(
        self, problem: Problem, basis: Array, state: State, signals: list[ResolvedSignal], budget: Budget
    ) -> Solution:
        masking = state.resolved.masking
        assert masking is not None, "resolve makes the masks that a signal asks for"
        after = np.column_stack([state.resolved.gap_masked(s) for s in signals])
        whole = {s.index for s in signals if isinstance(s.ask, Suppress) and s.ask.to == 0}
        always = np.logical_or.reduce([m.rows for m in masking.masks if m.index in whole] or [~masking.touched])
        return mask(problem, after, masking.touched & state.keep, always & masking.touched)

    def apply(self, problem: Problem, basis: Array, solution: Solution, state: State) -> None:
        assert solution.masked is not None
        state.masked = state.masked | solution.masked

    def strength(self, signal: ResolvedSignal, solved: float, solution: Solution, state: State) -> float:
        return float(self.touched(signal, solved, solution, state).sum())

    def touched(self, signal: ResolvedSignal, strength: float, solution: Solution, state: State) -> Bools:
        masking, masked = state.resolved.masking, solution.masked
        assert masking is not None
        assert masked is not None
        mine = next((m.rows for m in masking.masks if m.index == signal.index), np.zeros(len(masked), dtype=bool))
        return mine & masked
