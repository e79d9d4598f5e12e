"""Tools that read single tokens: which ones a spec needs, and what they say of a response."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from tiltc.detectors import PatternTimeout
from tiltc.evidence import AttentionTool, TokenScores, TokenTool, Tool
from tiltc.fit import measure_scores, measure_vector, vector
from tiltc.plan import Detection, Group, Objective
from tiltc.resolve.attention import probe_recipe
from tiltc.resolve.fitting import contrast_of, fit_definition, labelled
from tiltc.resolve.world import World, read_world
from tiltc.spec import Keep, Readout, VectorTool

if TYPE_CHECKING:
    from tiltc.derived import Derived
    from tiltc.evidence import Evidence, ProbeRecipe
    from tiltc.parse import Definition, SpecFile

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
VECTORS: tuple[VectorTool, ...] = get_args(VectorTool)
OBJECTIVES: dict[VectorTool, Objective] = {
    "direction": "difference of means", "probe": "cross-entropy", "probe-pairwise": "pairwise",
}  # fmt: skip


@dataclass(frozen=True)
class TokenReader:
    """A tool that was fitted and reads single tokens.

    Attributes:
        tool: what the second pass of harvest reads by it.
        tensor: as a plan keeps it: a vector (d,) of unit length, or an attention probe (2H + 1, d + 1).
        detection: a vector's held-out AUROC on mean residuals; a probe's on the contrast set that it was fitted to, None
            where it was fitted to the data.
    """

    tool: Tool
    tensor: Array
    objective: Objective
    detection: Detection | None


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


def vector_reader(world: World, definition: Definition, readout: VectorTool) -> TokenReader | None:
    """The reader of a concept's vector, None where none can be fitted."""
    values, texts = vector_of(world, definition, readout), labelled(world, definition)
    if values is None or texts is None:
        return None
    tool = vector_tool(values)
    detection = measure_vector(texts.thinned(), readout, np.array(values))
    return TokenReader(tool, np.array(tool.vector), OBJECTIVES[readout], detection)


def attention_reader(world: World, recipe: ProbeRecipe) -> TokenReader | None:
    """The probe that was fitted by a recipe, None where that was not harvested."""
    probe = world.evidence.attention(recipe.key)
    if probe is None:
        return None
    labels = np.array([text.label for text in recipe.held], dtype=bool)
    detection = measure_scores("attention", probe.held, labels) if labels.any() and not labels.all() else None
    return TokenReader(
        AttentionTool(recipe=recipe.key, sha256=probe.sha256), probe.tensor, "token cross-entropy", detection
    )


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
    """A projection or logit on every token of all responses; the moments are those of both responses of usable pairs."""

    scores: TokenScores
    mean: float
    sd: float

    @cached_property
    def tokens(self) -> Array:
        return self.scores.values[:, 0].astype(np.float64)

    def responses(self, without: Bools | None = None) -> Array:
        """(2n,) standardised max (paper section 2.2) over the tokens of each response."""
        return (self.scores.most(without)[:, 0] - self.mean) / self.sd


Readings = GroupReadings | VectorReadings


def vector_readings(world: World, tool: Tool) -> VectorReadings | None:
    """A unit vector or attention probe on every token, None where that was not harvested."""
    scores = world.evidence.tokens(tool.key)
    if scores is None:
        return None
    most = scores.most()[:, 0][world.both]
    return VectorReadings(scores, float(f"{most.mean():.7g}"), float(f"{max(most.std(), 1e-6):.7g}"))


def group_readings(world: World, group: Group) -> GroupReadings | None:
    scores = world.evidence.tokens(group_tool(group).key)
    return None if scores is None else GroupReadings(scores, group)


def needed(spec_file: SpecFile, evidence: Evidence, derived: Derived, *, every: bool = False) -> tuple[Tool, ...]:
    """What a second pass has to read so that the spec can be compiled. Names that don't resolve are left to `resolve`.

    Vectors and attention probes for signals that are read by one; a probe has to be fitted by then. With a token mask
    anywhere, the groups of all concepts that signals name: a mask for one of them hides tokens of the others. With
    `every`, as if any signal masked.
    """
    signals = spec_file.spec.signals
    masking = every or any(not isinstance(s, Keep) and s.with_ == "tokens" for s in signals)
    read_by: dict[str, Readout] = {s.concept: s.readout for s in signals if s.readout}
    if not masking and not any(readout in (*VECTORS, "attention") for readout in read_by.values()):
        return ()
    world = read_world(evidence, derived)
    tools: dict[str, Tool] = {}
    for name in sorted({s.concept for s in signals}):
        try:
            found = _tool(world, spec_file.library[name], read_by.get(name), masking)
        except PatternTimeout:
            # compiling refuses the pattern, with its place
            continue
        if found is not None:
            tools[found.key] = found
    return tuple(tools[key] for key in sorted(tools))


def _tool(world: World, definition: Definition, readout: Readout | None, masking: bool) -> Tool | None:
    if readout == "attention":
        recipe = probe_recipe(world, definition)
        reader = None if recipe is None else attention_reader(world, recipe)
        return None if reader is None else reader.tool
    if readout in VECTORS:
        values = vector_of(world, definition, readout)
        return None if values is None else vector_tool(values)
    if not masking or readout == "detector" or definition.concept.kind == "label":
        return None
    fitted = fit_definition(world, definition)
    return None if fitted is None or fitted.group is None else group_tool(fitted.group)
