"""What steer and inoculate share: how much likelier the model finds a response once it is steered, or told to.

    A(x, y) = log p(y | x; steered or told to) - log p(y | x)        frozen model (paper sections 2.1 and 2.3)

The residual form adds strength * (A(chosen) - A(rejected)) to the margin: the part of the preference that the concept
explains. In the forward form the policy itself is steered or told to while it is trained, on one side of some rows; at
the first step that is an offset of beta * A(chosen), or of -beta * A(rejected), which is what the forecast counts it as.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiltc.protocols.base import Array, Bools, State
from tiltc.protocols.reward import Reward

if TYPE_CHECKING:
    from tiltc.plan import Built
    from tiltc.resolved import Pull, ResolvedSignal
    from tiltc.solve import Solution
    from tiltc.spec import Train


class Likelihood(Reward):
    """A reward term whose offsets come from likelihoods and not from scores; or the policy's own forward pass."""

    @property
    def compensates(self) -> Built:
        return "reward"

    def column(self, signal: ResolvedSignal, state: State) -> Array:
        return state.gap(signal) if signal.pull is None else signal.pull.gap

    def fixed(self, signal: ResolvedSignal) -> bool:
        return super().fixed(signal) or (signal.pull is not None and signal.pull.forward)

    def settle(self, signal: ResolvedSignal, state: State, train: Train) -> None:
        pull = signal.pull
        if pull is None or not pull.forward:
            return
        rows = self.rows(signal, pull, state)
        state.forward[signal.index] = rows
        # under a length-normalised loss the margin is in nats a token
        length = np.maximum(pull.tokens, 1) if train.loss == "sigmoid_norm" else 1.0
        state.implied = state.implied + train.beta * np.where(rows, pull.implied / length, 0.0)

    def rows(self, signal: ResolvedSignal, pull: Pull, state: State) -> Bools:
        """(n,) the pairs on which the policy is intervened on."""
        raise NotImplementedError

    def strength(self, signal: ResolvedSignal, solved: float, solution: Solution, state: State) -> float:
        forward = state.forward.get(signal.index)
        return solved if forward is None else float(forward.sum())

    def touched(self, signal: ResolvedSignal, strength: float, solution: Solution, state: State) -> Bools:
        forward = state.forward.get(signal.index)
        return (self.column(signal, state) != 0) & (strength != 0) if forward is None else forward


def top(signal: ResolvedSignal, pull: Pull, state: State, fraction: float) -> Bools:
    """(n,) the share of the kept rows with the largest gaps to the pull's side, among those that lean to it and whose
    likelihood is known."""
    gap = np.where(state.keep & pull.known, state.gap(signal), 0.0) * (1 if pull.side == "chosen" else -1)
    count = min(round(fraction * int(state.keep.sum())), int((gap > 0).sum()))
    out = np.zeros(len(gap), dtype=bool)
    out[np.argsort(-gap, kind="stable")[:count]] = True
    return out
