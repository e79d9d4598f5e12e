"""What every protocol shares: a pair's score gap goes in, a change to the pair's part in the loss comes out.

A protocol is one small file. It says how its change is solved for, what it does to the rows, and what a reader is told.
`choose` runs them in order and knows nothing of any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.resolved import ResolvedSignal, ResolvedSpec
from tiltc.solve import Problem, Solution

if TYPE_CHECKING:
    from tiltc.plan import Built
    from tiltc.spec import Budget, Train

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Band:
    """What a signal allows g to be: target +- tolerance."""

    signal: ResolvedSignal
    target: float
    tolerance: float


@dataclass(frozen=True)
class Decision:
    """What was decided for one signal."""

    band: Band
    mechanism: Built
    strength: float
    because: str
    rows: Bools


@dataclass
class State:
    """The plan so far, one entry per pair: kept, weight, offset in logits, and whether its token masks are in place."""

    resolved: ResolvedSpec
    keep: Bools
    weight: Array
    offset: Array
    masked: Bools
    #: (n,) logits that steering or prompting the policy amounts to at the first step: counted, never written
    implied: Array
    #: (n,) rows whose chosen response is read under an instruction
    instructed: Bools
    #: signal -> (n,) rows that its forward form touches
    forward: dict[int, Bools] = field(default_factory=dict)
    done: list[Decision] = field(default_factory=list)

    @classmethod
    def untouched(cls, resolved: ResolvedSpec) -> State:
        """Every row as it is; rows that training can't use count for nothing, here as there."""
        n = len(resolved.pairs.usable)
        kept, none = resolved.pairs.usable.copy(), np.zeros(n, dtype=bool)
        return cls(resolved, kept, np.ones(n), np.zeros(n), none, np.zeros(n), none.copy())

    @property
    def base(self) -> Array:
        return self.keep * self.weight

    @property
    def margin(self) -> Array:
        """(n,) all logits inside the sigmoid at the first step."""
        return self.offset + self.implied

    def gap(self, signal: ResolvedSignal) -> Array:
        """(n,) a signal's gaps as the loss still sees them."""
        return np.where(self.masked, self.resolved.gap_masked(signal), signal.gap)


class Protocol(ABC):
    """A way of changing the signal. Stateless."""

    name: Built

    @property
    def compensates(self) -> Built:
        """What it amounts to for a signal that is only held: a multiple of that signal's own gap."""
        return self.name

    def column(self, signal: ResolvedSignal, state: State) -> Array:
        """(n,) what a signal's strength multiplies: its gaps by default."""
        return state.gap(signal)

    def fixed(self, signal: ResolvedSignal) -> bool:
        """Is the size of the change the spec's own, and not to be solved for?"""
        return getattr(signal.ask, "strength", None) is not None

    def settle(self, signal: ResolvedSignal, state: State, train: Train) -> None:
        """Write a fixed change that is no strength into the state; nothing by default."""
        return

    @abstractmethod
    def solve(
        self, problem: Problem, basis: Array, state: State, signals: list[ResolvedSignal], budget: Budget
    ) -> Solution:
        """The smallest change that meets the problem's constraints, one for each of `signals`.

        `basis` (n, c) is what each signal's strength multiplies; see `column`.
        """

    @abstractmethod
    def apply(self, problem: Problem, basis: Array, solution: Solution, state: State) -> None:
        """Write the change into the state."""

    def strength(self, signal: ResolvedSignal, solved: float, solution: Solution, state: State) -> float:
        """What a reader is told of a signal's size: the tilt coefficient by default."""
        return solved

    def touched(self, signal: ResolvedSignal, strength: float, solution: Solution, state: State) -> Bools:
        """(n,) rows that the protocol changes for a signal."""
        return (state.gap(signal) != 0) & (strength != 0)
