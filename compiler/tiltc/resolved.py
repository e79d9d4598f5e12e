"""Types between resolve and lower: names with their evidence, and no bare name left."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tiltc.plan import Discovered, PlanConcept, Verb, gated
from tiltc.spec import Amplify, Keep, Suppress

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """The rows as numbers: what every later stage needs of the evidence.

    Attributes:
        usable: (n,) rows with two different, nonempty responses.
        cluster: (n,) rows of one prompt share a number.
        length_gap: (n,) log tokens of chosen minus log tokens of rejected.
    """

    row_ids: tuple[str, ...]
    usable: npt.NDArray[np.bool_]
    cluster: npt.NDArray[np.int64]
    half: npt.NDArray[np.bool_]
    length_gap: Array
    cut_share: float

    @cached_property
    def usable_cluster(self) -> npt.NDArray[np.int64]:
        """Cluster numbers of the usable rows alone, consecutive."""
        return np.unique(self.cluster[self.usable], return_inverse=True)[1]


@dataclass(frozen=True)
class Measured:
    """A concept with its evidence (`plan`), its gap per pair (n,) and, for gates, on which pairs it is open (n,)."""

    plan: PlanConcept
    gap: Array
    present: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ResolvedSignal:
    """One signal: what is wanted (`ask`), of which concept, on which pairs, and today's first-step signal with its se."""

    index: int
    ask: Suppress | Keep | Amplify
    concept: Measured
    gate: Measured | None
    gap: Array
    today: float
    se: float

    @property
    def verb(self) -> Verb:
        return self.ask.verb

    @property
    def label(self) -> str:
        """The concept's name, with the gate."""
        return gated(self.concept.plan.name, self.gate.plan.name if self.gate else None)


@dataclass(frozen=True)
class ResolvedSpec:
    """All names of a spec as evidence. `library` are concepts nobody named, measured for collateral."""

    pairs: Pairs
    signals: tuple[ResolvedSignal, ...]
    gates: tuple[Measured, ...]
    library: tuple[Measured, ...]
    discovered: tuple[Discovered, ...]
    #: (n, groups) gaps of the discovered groups
    discovered_gaps: Array


@dataclass(frozen=True)
class CheckedSpec:
    """A resolved spec that no rule refused. Only `check` makes one; `choose` accepts nothing else."""

    resolved: ResolvedSpec
