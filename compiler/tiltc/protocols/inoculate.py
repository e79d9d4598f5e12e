"""Inoculate: the model is told to show the concept, so that it need not learn to (paper section 2.3).

In its forward form the policy reads the chosen responses that show the concept under an instruction that asks for it,
and the reference reads them without. It can only take away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.protocols.base import Bools, State
from tiltc.protocols.likelihood import Likelihood, top

if TYPE_CHECKING:
    from tiltc.resolved import Pull, ResolvedSignal


class Inoculate(Likelihood):
    name = "inoculate"

    def rows(self, signal: ResolvedSignal, pull: Pull, state: State) -> Bools:
        """All pairs that lean to the concept, unless the spec asks for a share. A response is read under one instruction:
        that of the first signal that takes it."""
        asked = getattr(signal.ask, "fraction", None)
        rows = top(signal, pull, state, 1.0 if asked is None else asked) & ~state.instructed
        state.instructed = state.instructed | rows
        return rows
