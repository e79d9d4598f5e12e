"""Directions of the residual stream: what `with: steer` adds, and the likelihoods that a spec needs from a harvest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.derived import Derived
from tiltc.detectors import PatternTimeout, has_detector
from tiltc.evidence import Instructed, Request, Steered, contrast_digest
from tiltc.fit import FEWEST_EXAMPLES
from tiltc.resolve.fitting import presence
from tiltc.resolve.world import World, read_world
from tiltc.spec import Keep

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition, SpecFile

#: significant digits of a direction: below what machines could differ in
DIGITS = 6


def direction(world: World, definition: Definition) -> npt.NDArray[np.float32] | None:
    """(d,) mean residual of texts with the concept less that of texts without it, not normalised.

    The texts are both responses of the usable pairs in half A, or all of a contrast set. None where the definition
    labels no text (`features`, `audit`, `contrast`, `label`), the contrast set was not harvested, or fewer than
    `FEWEST_EXAMPLES` texts are on one side.
    """
    labelled = _labelled(world, definition)
    if labelled is None:
        return None
    residuals, label = labelled
    if min(int(label.sum()), int((~label).sum())) < FEWEST_EXAMPLES:
        return None
    # residuals are kept in 16 bits, so that these sums lose nothing in any order
    difference = residuals[label].mean(axis=0) - residuals[~label].mean(axis=0)
    return np.array([float(f"{v:.{DIGITS}g}") for v in difference], dtype=np.float32)


def hook_layer(hook: str) -> int:
    """The decoder layer whose output a hook reads, from 0; -1 for what enters layer 0.

    Raises:
        ValueError: the hook is not on the residual stream.
    """
    lens = re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", hook)
    plain = re.fullmatch(r"(?:model\.|language_model\.|transformer\.)*(?:layers|h)\.(\d+)", hook)
    if lens:
        return int(lens[1]) - (lens[2] == "pre")
    if plain:
        return int(plain[1])
    raise ValueError(f"`{hook}` is not on the residual stream")


def likelihood_requests(spec_file: SpecFile, evidence: Evidence) -> tuple[dict[str, Request], list[str]]:
    """What a spec's residual `inoculate` and `steer` signals need in `likelihood/`, by key; and the concepts to be
    steered for which the evidence gives no direction."""
    requests: dict[str, Request] = {}
    lost: list[str] = []
    world: World | None = None
    for signal in spec_file.spec.signals:
        if isinstance(signal, Keep) or signal.form == "forward" or signal.with_ not in ("inoculate", "steer"):
            continue
        definition = spec_file.library[signal.concept]
        if signal.with_ == "inoculate":
            made: list[Request] = [Instructed(text) for text in definition.concept.instructions if text.strip()]
        else:
            world = world or read_world(evidence, Derived(None))
            vector = _direction_or_none(world, definition)
            layer = hook_layer(evidence.manifest.sae.hook)
            made = [] if vector is None else [Steered(vector, layer, 1.0 if signal.size is None else signal.size)]
            if vector is None:
                lost.append(signal.concept)
        requests |= {request.key: request for request in made}
    return requests, lost


def _direction_or_none(world: World, definition: Definition) -> npt.NDArray[np.float32] | None:
    try:
        return direction(world, definition)
    except PatternTimeout:
        # compiling refuses the pattern, with its place
        return None


def _labelled(world: World, definition: Definition) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]] | None:
    if definition.concept.kind == "examples":
        contrast = world.evidence.contrast(contrast_digest(definition))
        if contrast is None:
            return None
        return np.asarray(contrast.residuals(), dtype=np.float64), np.asarray(contrast.labels, dtype=bool)
    if not has_detector(definition.concept):
        return None
    texts = np.concatenate([world.pairs.half, world.pairs.half]) & world.both
    return world.residuals[texts], presence(world, definition)[texts]
