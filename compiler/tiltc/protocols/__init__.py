"""The protocols, in the order in which a plan is built: what takes rows or tokens away comes before what tilts the rest."""

from __future__ import annotations

from tiltc.protocols.base import Band, Decision, Protocol, State
from tiltc.protocols.filter import Filter
from tiltc.protocols.inoculate import Inoculate
from tiltc.protocols.reward import Reward
from tiltc.protocols.reweight import Reweight
from tiltc.protocols.steer import Steer
from tiltc.protocols.tokens import Tokens

PROTOCOLS: tuple[Protocol, ...] = (Filter(), Tokens(), Reweight(), Steer(), Inoculate(), Reward())

__all__ = ["PROTOCOLS", "Band", "Decision", "Protocol", "State"]
