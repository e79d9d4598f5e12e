"""Steer: a vector in the residual stream supplies the concept, so that the weights need not (paper section 2.1).

In its forward form the policy is steered on the chosen side of the pairs that teach the concept most: towards it to
suppress it, away from it to amplify it. Or on the rejected side of those that teach it least, in the same directions:
steered away there, what pushes the concept down is explained away and it is amplified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.protocols.base import Bools, State
from tiltc.protocols.likelihood import Likelihood, top

if TYPE_CHECKING:
    from tiltc.resolved import Pull, ResolvedSignal

#: share of the pairs that the forward form steers on where the spec says nothing
FRACTION = 0.05


class Steer(Likelihood):
    name = "steer"

    def rows(self, signal: ResolvedSignal, pull: Pull, state: State) -> Bools:
        asked = getattr(signal.ask, "fraction", None)
        return top(signal, pull, state, FRACTION if asked is None else asked)
