"""Which texts a ReFT adapter is fitted to: chosen here, carried out by harvest, and read again when compiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.detectors import PatternTimeout
from tiltc.evidence import AdapterRecipe
from tiltc.fit import FEWEST_EXAMPLES
from tiltc.hook import hook_layer
from tiltc.resolve.attention import Texts, source_texts, spread
from tiltc.resolve.fitting import pairs_of
from tiltc.resolve.world import World, read_world
from tiltc.spec import Keep
from tiltc.stats import adjusted_effect, mean_effect

if TYPE_CHECKING:
    from tiltc.derived import Derived
    from tiltc.evidence import Adapter, Evidence
    from tiltc.parse import Definition, SpecFile
    from tiltc.stats import Effect

Ints = npt.NDArray[np.int64]

#: texts that an adapter is fitted to, and texts of each class that it is measured on
MOST_TEXTS, MOST_HELD = 400, 60
#: response tokens of the texts that are fitted on: each takes as many forward and backward passes as there are epochs.
#: Fewer texts are taken where they are longer, though never fewer than `FEWEST_EXAMPLES`
MOST_TOKENS = 60_000


def adapter_recipes(spec_file: SpecFile, evidence: Evidence, derived: Derived) -> tuple[AdapterRecipe, ...]:
    """What a spec needs of adapters. Names that don't resolve are left to `resolve`."""
    names = sorted({s.concept for s in spec_file.spec.signals if not isinstance(s, Keep) and s.by == "reft"})
    if not names:
        return ()
    world = read_world(evidence, derived)
    recipes: dict[str, AdapterRecipe] = {}
    for name in names:
        try:
            recipe = adapter_recipe(world, spec_file.library[name])
        except PatternTimeout:
            # compiling refuses the pattern, with its place
            continue
        if recipe is not None:
            recipes[recipe.key] = recipe
    return tuple(recipes[key] for key in sorted(recipes))


def adapter_recipe(world: World, definition: Definition) -> AdapterRecipe | None:
    """A concept's adapter: the texts of half A that show it, evenly spread. None where too few texts show it."""
    texts = source_texts(world, definition)
    if texts is None:
        return None
    # of one token nothing depends on what is added to it
    usable = texts.tokens > 1
    fit = _picked(np.flatnonzero(usable & texts.half & texts.label), texts)
    rest = [np.flatnonzero(usable & ~texts.half & (texts.label == side)) for side in (True, False)]
    held = np.sort(np.concatenate([spread(pool, MOST_HELD) for pool in rest]))
    if min(len(fit), *map(len, rest)) < FEWEST_EXAMPLES:
        return None
    return AdapterRecipe(
        source=texts.source,
        layer=hook_layer(world.evidence.manifest.sae.hook),
        fit=tuple(texts.named[i] for i in fit),
        held=tuple(texts.named[i] for i in held),
    )


def _picked(pool: Ints, texts: Texts) -> Ints:
    """At most `MOST_TEXTS` of these texts, of at most `MOST_TOKENS` tokens."""
    most = MOST_TEXTS
    while True:
        picked = spread(pool, most)
        if most <= FEWEST_EXAMPLES or int(texts.tokens[picked].sum()) <= MOST_TOKENS:
            return picked
        most = max(FEWEST_EXAMPLES, most * 3 // 4)


def fitted_adapter(world: World, definition: Definition) -> tuple[AdapterRecipe, Adapter] | None:
    """A concept's adapter with its recipe, None where none can be fitted or none was harvested."""
    recipe = adapter_recipe(world, definition)
    adapter = None if recipe is None else world.evidence.adapter(recipe.key)
    return None if recipe is None or adapter is None else (recipe, adapter)


def gains(world: World, recipe: AdapterRecipe, adapter: Adapter) -> tuple[Effect, Effect]:
    """Nats a token that held-out texts with the concept gain from an adapter, and how much more that is than what texts
    without it gain. Answers to one question, or to one prompt, may be alike."""
    with_it = np.array([text.label for text in recipe.held], dtype=bool)
    rows = np.array([text.row for text in recipe.held], dtype=np.int64)
    cluster = np.unique(_clusters(world, recipe)[rows], return_inverse=True)[1]
    gained = adapter.held.astype(np.float64)
    own = mean_effect(gained[with_it], np.unique(cluster[with_it], return_inverse=True)[1])
    return own, adjusted_effect(gained, with_it.astype(np.float64), np.zeros(len(gained)), cluster)


def _clusters(world: World, recipe: AdapterRecipe) -> Ints:
    """(n,) of each row of the texts' source, which question or prompt it answers."""
    if recipe.held[0].side != "example":
        return world.pairs.cluster
    contrast = world.evidence.contrast(recipe.source)
    assert contrast is not None, "its texts were chosen from it"
    return np.unique(pairs_of(contrast), return_inverse=True)[1]
