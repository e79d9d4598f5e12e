"""Tools that read single tokens: which ones a spec needs, and what they say of a response."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from tiltc.detectors import PatternTimeout
from tiltc.evidence import TokenScores, TokenTool
from tiltc.fit import vector
from tiltc.plan import Group
from tiltc.resolve.fitting import contrast_of, fit_definition, labelled
from tiltc.resolve.world import World, read_world
from tiltc.spec import Keep, Readout

if TYPE_CHECKING:
    from tiltc.derived import Derived
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition, SpecFile

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
VectorTool = Literal["direction", "probe"]
#: readouts that are vectors in the residual stream
VECTORS: tuple[VectorTool, VectorTool] = ("direction", "probe")


class _Vector(BaseModel):
    values: tuple[float, ...] | None


def vector_of(world: World, definition: Definition, tool: VectorTool) -> tuple[float, ...] | None:
    """A concept's vector (d,) as it was fitted, not normalised, to six digits; None where too few texts show it."""

    def make() -> _Vector:
        texts = labelled(world, definition)
        if texts is None or not texts.enough():
            return _Vector(values=None)
        return _Vector(values=tuple(float(f"{v:.6g}") for v in vector(texts.thinned(), tool)))

    key = [tool, definition.concept.meaning]
    contrast = contrast_of(world, definition)
    if contrast is not None:
        key.append(contrast)
    return world.derived.model(key, _Vector, make).values


def vector_tool(values: tuple[float, ...]) -> TokenTool:
    """A vector as a tool: of unit length, so that its projections are in units of the residual stream."""
    length = float(np.linalg.norm(values))
    return TokenTool(vector=tuple(float(f"{v / length:.7g}") for v in values))


def group_tool(group: Group) -> TokenTool:
    return TokenTool(features=tuple(m.feature for m in group.members))


@dataclass(frozen=True)
class GroupReadings:
    """An SAE group on every token of all responses, chosen ones first."""

    scores: TokenScores
    group: Group

    @cached_property
    def _on(self) -> Array:
        scale = np.array([m.scale for m in self.group.members])
        return np.minimum(self.scores.values / scale, 1.0)

    @cached_property
    def tokens(self) -> Array:
        """(T,) the group's sum on each token, between 0 and the sum of its weights."""
        return self._on @ np.array([m.weight for m in self.group.members])

    def responses(self, without: Bools | None = None) -> Array:
        """(2n,) standardised score of each response, reading the tokens that are not `without` (T,)."""
        weight, scale = (np.array([getattr(m, k) for m in self.group.members]) for k in ("weight", "scale"))
        raw = np.minimum(self.scores.most(without) / scale, 1.0) @ weight
        return (raw - self.group.mean) / self.group.sd


@dataclass(frozen=True)
class VectorReadings:
    """A projection on every token of all responses; the moments are those of both responses of usable pairs."""

    scores: TokenScores
    mean: float
    sd: float

    @cached_property
    def tokens(self) -> Array:
        return self.scores.values[:, 0].astype(np.float64)

    def responses(self, without: Bools | None = None) -> Array:
        """(2n,) standardised max projection (paper section 2.2) of each response."""
        return (self.scores.most(without)[:, 0] - self.mean) / self.sd


Readings = GroupReadings | VectorReadings


def vector_readings(world: World, unit: tuple[float, ...]) -> VectorReadings | None:
    """A unit vector on every token, None where that was not harvested."""
    scores = world.evidence.tokens(TokenTool(vector=unit).key)
    if scores is None:
        return None
    most = scores.most()[:, 0][world.both]
    return VectorReadings(scores, float(f"{most.mean():.7g}"), float(f"{max(most.std(), 1e-6):.7g}"))


def group_readings(world: World, group: Group) -> GroupReadings | None:
    scores = world.evidence.tokens(group_tool(group).key)
    return None if scores is None else GroupReadings(scores, group)


def needed(spec_file: SpecFile, evidence: Evidence, derived: Derived, *, every: bool = False) -> tuple[TokenTool, ...]:
    """What a second pass has to read so that the spec can be compiled. Names that don't resolve are left to `resolve`.

    Vectors for signals that are read by one. With a token mask anywhere, the groups of all concepts that signals name:
    a mask for one of them hides tokens of the others. With `every`, as if any signal masked.
    """
    signals = spec_file.spec.signals
    masking = every or any(not isinstance(s, Keep) and s.with_ == "tokens" for s in signals)
    read_by: dict[str, Readout] = {s.concept: s.readout for s in signals if s.readout}
    if not masking and not any(readout in VECTORS for readout in read_by.values()):
        return ()
    world = read_world(evidence, derived)
    tools: dict[str, TokenTool] = {}
    for name in sorted({s.concept for s in signals}):
        try:
            found = _tool(world, spec_file.library[name], read_by.get(name), masking)
        except PatternTimeout:
            # compiling refuses the pattern, with its place
            continue
        if found is not None:
            tools[found.key] = found
    return tuple(tools[key] for key in sorted(tools))


def _tool(world: World, definition: Definition, readout: Readout | None, masking: bool) -> TokenTool | None:
    if readout == "direction" or readout == "probe":
        values = vector_of(world, definition, readout)
        return None if values is None else vector_tool(values)
    if not masking or readout == "detector" or definition.concept.kind == "label":
        return None
    fitted = fit_definition(world, definition)
    return None if fitted is None or fitted.group is None else group_tool(fitted.group)
