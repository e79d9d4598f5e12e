"""What a concept reads off a text: one number, standardised. Compiler and runtime score through this file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.groups import group_score
from tiltc.plan import Group, Member, PlanConcept
from tiltc.spec import Concept

Array = npt.NDArray[np.float64]


def detector_readout(concept: Concept, texts: Sequence[str]) -> Array:
    """Raw detector readout (n,): log words for `surface: length`, else 1 where the concept is present.

    Presence and not the count: one answer with forty bold words would otherwise outweigh forty answers with one.
    """
    from tiltc import detectors

    if concept.surface == "length":
        return detectors.score(concept, texts)
    return detectors.present(concept, texts).astype(np.float64)


def concept_scores(
    concept: PlanConcept,
    texts: Sequence[str],
    activations: sparse.csc_matrix,
    projections: Mapping[str, Array] | None = None,
) -> Array:
    """Standardised score (n,) of texts with max activations (n, F), by the concept's readout.

    Args:
        projections: key of a vector -> (n,) max over response tokens of <residual, vector>.

    Raises:
        ValueError: what the readout needs is not there.
    """
    if concept.projection is not None:
        values = (projections or {}).get(concept.projection.key)
        if values is None:
            raise ValueError(f"{concept.name} is read by a {concept.readout}, and its projections are not given")
        return (values - concept.projection.mean) / concept.projection.sd
    if concept.readout == "sae":
        if concept.group is None:
            raise ValueError(f"{concept.name} is read by the SAE but has no group")
        return group_score(concept.group, activations)
    return (detector_readout(concept.definition, texts) - concept.detector_mean) / concept.detector_sd


#: an activation at which a feature counts as fully on, so small that firing at all is enough
ANY = 1e-6


def share_group(features: Sequence[int], threshold: float) -> Group:
    """A group whose standardised score is the share of the features that fire, less a threshold."""
    members = tuple(Member(feature=f, weight=1 / len(features), scale=ANY) for f in features)
    return Group(members=members, mean=threshold, sd=1.0)


def gate_is_open(group: Group, activations: sparse.csc_matrix) -> npt.NDArray[np.bool_]:
    """(n,) prompts, by their max activations (n, F), on which at least the group's threshold of features fires."""
    return group_score(group, activations) >= -ANY
