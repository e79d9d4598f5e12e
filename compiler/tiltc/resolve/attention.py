"""Which texts an attention probe is fitted to: chosen here, carried out by harvest, and read again when compiling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.detectors import PatternTimeout
from tiltc.evidence import LabelledText, ProbeRecipe
from tiltc.fit import FEWEST_EXAMPLES
from tiltc.resolve.fitting import contrast_of, labelled
from tiltc.resolve.world import World, read_world

if TYPE_CHECKING:
    from tiltc.derived import Derived
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition, SpecFile

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

#: texts that a probe is fitted to, and as many of a contrast set that it is measured on
MOST_TEXTS = 400
#: bytes of float32 residuals that harvest holds for it. Fewer texts are taken where they are longer or the model is
#: wider, though never fewer than `FEWEST_EXAMPLES` of a class
MOST_BYTES = 200_000_000


def probe_recipes(spec_file: SpecFile, evidence: Evidence, derived: Derived) -> tuple[ProbeRecipe, ...]:
    """What a spec needs of attention probes. Names that don't resolve are left to `resolve`."""
    names = sorted({s.concept for s in spec_file.spec.signals if s.readout == "attention"})
    if not names:
        return ()
    world = read_world(evidence, derived)
    recipes: dict[str, ProbeRecipe] = {}
    for name in names:
        try:
            recipe = probe_recipe(world, spec_file.library[name])
        except PatternTimeout:
            # compiling refuses the pattern, with its place
            continue
        if recipe is not None:
            recipes[recipe.key] = recipe
    return tuple(recipes[key] for key in sorted(recipes))


@dataclass(frozen=True)
class Texts:
    """A concept's labelled texts by name: label (m,), half A (m,) and response tokens (m,)."""

    #: digest of the data, or of the contrast set
    source: str
    named: list[LabelledText]
    label: Bools
    half: Bools
    tokens: Ints
    #: are they a contrast set's, and not the data's?
    contrast: bool


def source_texts(world: World, definition: Definition) -> Texts | None:
    """What a tool can be fitted to that reads single tokens or writes them. None where too few texts show the concept."""
    texts = labelled(world, definition)
    if texts is None or not texts.enough():
        return None
    source = contrast_of(world, definition)
    if source is not None:
        contrast = world.evidence.contrast(source)
        assert contrast is not None, "its texts were found above"
        tokens = np.asarray(contrast.table.column("tokens"), dtype=np.int64)
        named = [LabelledText(row=i, side="example", label=bool(on)) for i, on in enumerate(texts.label)]
        return Texts(source, named, texts.label, texts.half, tokens, True)
    table, at, n = world.evidence.table, np.flatnonzero(world.both), len(world.prompts)
    tokens = np.concatenate([np.asarray(table.column(f"{s}_tokens"), np.int64) for s in ("chosen", "rejected")])[at]
    named = [
        LabelledText(row=int(i % n), side="rejected" if i >= n else "chosen", label=bool(on))
        for i, on in zip(at, texts.label, strict=True)
    ]
    return Texts(world.evidence.manifest.data.digest, named, texts.label, texts.half, tokens, False)


def probe_recipe(world: World, definition: Definition) -> ProbeRecipe | None:
    """A concept's probe: labelled texts of half A, as many of each class as there are, evenly spread. None where too few
    texts show it."""
    texts = source_texts(world, definition)
    if texts is None:
        return None
    label, half, tokens, named = texts.label, texts.half, texts.tokens, texts.named
    width = world.evidence.manifest.sae.width
    # of the data every token is read by the finished probe
    held = _picked(~half & (tokens > 1), label, tokens, width) if texts.contrast else np.zeros(0, dtype=np.int64)
    # of a text of one token nothing is left where that is the sink
    fit = _picked(half & (tokens > 1), label, tokens, width)
    if min(int((label[fit] == side).sum()) for side in (True, False)) < FEWEST_EXAMPLES:
        return None
    return ProbeRecipe(source=texts.source, fit=tuple(named[i] for i in fit), held=tuple(named[i] for i in held))


def _picked(among: Bools, label: Bools, tokens: Ints, width: int) -> Ints:
    """Numbers of at most `MOST_TEXTS` texts, half of each class where there are enough, whose residuals fit `MOST_BYTES`."""
    pools = [np.flatnonzero(among & (label == side)) for side in (True, False)]
    most = MOST_TEXTS
    while True:
        wanted = [max(most // 2, most - len(other)) for other in reversed(pools)]
        picked = np.sort(np.concatenate([spread(p, k) for p, k in zip(pools, wanted, strict=True)]))
        if most <= 2 * FEWEST_EXAMPLES or 4 * width * int(tokens[picked].sum()) <= MOST_BYTES:
            return picked
        most = max(2 * FEWEST_EXAMPLES, most * 3 // 4)


def spread(pool: Ints, most: int) -> Ints:
    """At most this many of them, at even distances, so that the choice is the same everywhere."""
    return pool[np.unique(np.linspace(0, len(pool) - 1, min(most, len(pool))).astype(np.int64))] if len(pool) else pool
