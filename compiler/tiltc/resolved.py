"""Types between resolve and lower: names with their evidence, and no bare name left."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.plan import Apart, Discovered, PlanConcept, Verb, gated
from tiltc.spec import Amplify, Keep, Side, Suppress, Unit

if TYPE_CHECKING:
    from tiltc.resolve.tools import TokenReader

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
    #: what reads single tokens of it, where it has a readout that was fitted
    reader: TokenReader | None = None
    #: (n,) present in chosen less present in rejected, by its own detector; None where it is read by that, or has none
    defined: Array | None = None


@dataclass(frozen=True)
class Pull:
    """How much likelier the frozen model finds each response once it is steered or told to (paper sections 2.1 and 2.3).

    Attributes:
        nats: (n, 2) log-likelihood gained, chosen and rejected; 0 where it is not known or a gate is closed.
        gap: (n,) the difference of the two, in its own sd over both responses.
        vector: what is added to the residual stream for `steer`, at decoder layer `layer`, `size` times.
        adapter: what is added there in its place (`plan.Steering`), on so many tokens at both ends of the response.
        said: of the adapter, for the reviewer.
        prompts: what the model is told for `inoculate`, each as often as the others.
        known: (n,) pairs that have a likelihood.
        side: the response that a forward form intervenes on.
        tokens: (n,) tokens of that response.
    """

    nats: Array
    gap: Array
    known: npt.NDArray[np.bool_]
    tokens: Array
    forward: bool
    vector: tuple[float, ...] = ()
    layer: int = 0
    size: float = 0.0
    prompts: tuple[str, ...] = ()
    side: Side = "chosen"
    adapter: Array | None = None
    ends: int | None = None
    said: str = ""

    @property
    def implied(self) -> Array:
        """(n,) nats that a forward form adds to the margin at the first step."""
        return self.nats[:, 0] if self.side == "chosen" else -self.nats[:, 1]

    @property
    def steers(self) -> bool:
        return bool(self.vector) or self.adapter is not None

    @property
    def tensor(self) -> Array:
        """As a plan keeps it: the vector (d,) or the adapter (r, 2d + 1)."""
        return np.array(self.vector) if self.adapter is None else self.adapter


@dataclass(frozen=True)
class ResolvedSignal:
    """One signal: what is wanted (`ask`), of which concept, on which pairs, and today's first-step signal with its se.

    `gap` is what its mechanism and its constraint see: the concept's gap, zero where the gate is closed, less what it is told
    apart from.
    """

    index: int
    ask: Suppress | Keep | Amplify
    concept: Measured
    gate: Measured | None
    gap: Array
    today: float
    se: float
    #: for `steer` and `inoculate`
    pull: Pull | None = None
    apart: Apart | None = None
    #: (n,) with `apart`: what each pair adds to the mean of `gap`, that its coefficients were estimated here counted in
    influence: Array | None = None

    @property
    def verb(self) -> Verb:
        return self.ask.verb

    @property
    def label(self) -> str:
        """The concept's name, with what it is told apart from and the gate."""
        apart = self.apart.coefficients if self.apart else ()
        return gated(self.concept.plan.name, self.gate.plan.name if self.gate else None, apart)


@dataclass(frozen=True)
class TokenMask:
    """One signal's mask: the token score from which on it hides, on which rows (n,), and the share of all tokens."""

    index: int
    threshold: float
    unit: Unit
    rows: npt.NDArray[np.bool_]
    share: float


@dataclass(frozen=True)
class Masking:
    """All token masks of a spec, and the gaps of all concepts with every mask in place."""

    masks: tuple[TokenMask, ...]
    #: per pair, the numbers of the response's masked tokens
    chosen: tuple[npt.NDArray[np.int64], ...]
    rejected: tuple[npt.NDArray[np.int64], ...]
    #: (n,) pairs that have a masked token
    touched: npt.NDArray[np.bool_]
    #: concept -> (n,) gap
    after: dict[str, Array]
    #: concept -> (n,) `Measured.defined`; empty where what the masks leave of a text is not known
    defined: dict[str, Array]
    #: (n, groups)
    discovered: Array


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
    #: None unless a signal masks tokens
    masking: Masking | None = None

    def gap_masked(self, signal: ResolvedSignal) -> Array:
        """(n,) a signal's gaps once all token masks are in place."""
        if self.masking is None:
            return signal.gap
        after = self.masking.after[signal.concept.plan.name]
        if signal.apart is not None:
            after = after - sum(b * self.masking.after[name] for name, b in signal.apart.coefficients.items())
        opened = None if signal.gate is None else signal.gate.present
        return after if opened is None else np.where(opened, after, 0.0)

    def defined(self, signal: ResolvedSignal) -> tuple[Array, Array] | None:
        """A signal's gaps (n,) by its concept's own detector, before and after all token masks.

        None where it is read by that detector, has none, or is told apart from others, which a definition does not do; and
        where what the masks leave of a text is not known.
        """
        gap = signal.concept.defined
        if gap is None or signal.apart is not None:
            return None
        after = gap if self.masking is None else self.masking.defined.get(signal.concept.plan.name)
        if after is None:
            return None
        opened = None if signal.gate is None else signal.gate.present
        return (gap, after) if opened is None else (np.where(opened, gap, 0.0), np.where(opened, after, 0.0))


@dataclass(frozen=True)
class CheckedSpec:
    """A resolved spec that no rule refused. Only `check` makes one; `choose` accepts nothing else."""

    resolved: ResolvedSpec
