"""What steering or telling the frozen model does to the likelihood of each response: what is asked of a harvest, and read.

A signal that is steered by an adapter is asked of a harvest twice over: the adapter first, its likelihoods once it is there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.derived import Derived
from tiltc.detectors import PatternTimeout
from tiltc.evidence import Adapted, Instructed, Request, Steered
from tiltc.figures import interval
from tiltc.hook import hook_layer
from tiltc.resolve.reft import fitted_adapter, gains
from tiltc.resolve.tools import VECTORS, vector_of
from tiltc.resolve.world import World, read_world
from tiltc.resolved import Pull
from tiltc.spec import Amplify, Keep, Side, Signal, VectorTool

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition, SpecFile

Bools = npt.NDArray[np.bool_]


def likelihood_requests(
    spec_file: SpecFile, evidence: Evidence, derived: Derived, *, every: bool = False
) -> dict[str, Request]:
    """What a spec's `inoculate` and `steer` signals need of a harvest, by key. What can't be made is left to `resolve`.

    With `every`, as if each signal were carried out in both ways and forms.
    """
    changes = [s for s in spec_file.spec.signals if not isinstance(s, Keep)]
    asking = [s for s in changes if s.with_ in ("inoculate", "steer")]
    if every:
        ways = (("steer", "residual"), ("steer", "forward"), ("inoculate", "residual"))
        asking = [s.model_copy(update={"with_": with_, "form": form}) for s in changes for with_, form in ways]
    if not asking:
        return {}
    world = read_world(evidence, derived)
    made = [r for s in asking for r in _requests(world, s, spec_file.library[s.concept])]
    return {request.key: request for request in made}


def pull_of(world: World, ask: Signal, definition: Definition, opened: Bools | None) -> Pull | None:
    """A signal's pull, None where it can't be made or was not harvested.

    Args:
        opened: (n,) pairs on which the signal's gate is open, None without one.
    """
    requests = _requests(world, ask, definition)
    each = [world.evidence.likelihood(request.key) for request in requests]
    known = [nats for nats in each if nats is not None]
    if not each or len(known) < len(each):
        return None
    on = world.pairs.usable if opened is None else world.pairs.usable & opened
    # a pool of paraphrases is worth what its members are worth on average
    nats = np.mean(known, axis=0)
    on = on & np.isfinite(nats).all(axis=1)
    nats = np.where(on[:, None], nats, 0.0)
    scale = float(nats[on].std()) if on.any() else 0.0
    gap = (nats[:, 0] - nats[:, 1]) / max(scale, 1e-9)
    side: Side = getattr(ask, "side", None) or "chosen"
    tokens = np.asarray(world.evidence.table.column(f"{side}_tokens"), dtype=np.float64)
    numbers = (nats, gap, on, tokens)
    forward = getattr(ask, "form", None) == "forward"
    first = requests[0]
    if isinstance(first, Steered):
        vector = tuple(float(v) for v in first.vector)
        return Pull(*numbers, forward, vector=vector, layer=first.layer, size=first.size, side=side)
    if isinstance(first, Adapted):
        bend = Pull(*numbers, forward, layer=first.layer, size=first.size, side=side)
        return replace(bend, adapter=first.adapter, ends=first.ends, said=_said(world, definition))
    return Pull(*numbers, forward, prompts=tuple(r.text for r in requests if isinstance(r, Instructed)))


def steering_tool(ask: Signal) -> VectorTool:
    """The vector that a signal steers by: the one that it is read by, or else the direction."""
    return ask.readout if ask.readout in VECTORS else "direction"


def _requests(world: World, ask: Signal, definition: Definition) -> list[Request]:
    if getattr(ask, "with_", "") == "inoculate":
        return [Instructed(text) for text in definition.concept.instructions if text.strip()]
    # amplified by its forward form, the policy is steered away: it then has to learn the concept
    away = isinstance(ask, Amplify) and ask.form == "forward"
    size = (getattr(ask, "size", None) or 1.0) * (-1 if away else 1)
    if getattr(ask, "by", None) == "reft":
        return _adapted(world, definition, size)
    if ask.readout in ("attention", "detector"):
        # linting refuses it: see `check.coverage`
        return []
    try:
        direction = vector_of(world, definition, "direction")
        vector = vector_of(world, definition, steering_tool(ask))
    except PatternTimeout:
        # compiling refuses the pattern, with its place
        return []
    if vector is None or direction is None:
        return []
    # a probe's length means nothing: it steers as far as the direction would
    length = float(np.linalg.norm(direction) / max(np.linalg.norm(vector), 1e-12))
    scaled = np.array([float(f"{v * length:.6g}") for v in vector], dtype=np.float32)
    return [Steered(scaled, hook_layer(world.evidence.manifest.sae.hook), size)]


def _adapted(world: World, definition: Definition, size: float) -> list[Request]:
    try:
        fitted = fitted_adapter(world, definition)
    except PatternTimeout:
        return []
    return [] if fitted is None else [Adapted(fitted[1].tensor, fitted[0].layer, size, fitted[0].ends)]


def _said(world: World, definition: Definition) -> str:
    """What a reviewer is told of the adapter that steers."""
    fitted = fitted_adapter(world, definition)
    assert fitted is not None, "there is a request that was made of it"
    recipe, (own, more) = fitted[0], gains(world, *fitted)
    return (
        f"by a ReFT adapter of rank {recipe.rank} at layer {recipe.layer}, fitted to {len(recipe.fit)} texts; held-out texts with"
        f" the concept gain {interval(own.interval)} nats a token, {interval(more.interval)} more than others"
    )
