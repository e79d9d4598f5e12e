"""What a concept reads off a text: one number, standardised. Compiler and runtime score through this file alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.groups import group_score
from tiltc.plan import PlanConcept
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


def concept_scores(concept: PlanConcept, texts: Sequence[str], activations: sparse.csc_matrix) -> Array:
    """Standardised score (n,) of texts with max activations (n, F), by the concept's readout."""
    if concept.readout == "sae":
        if concept.group is None:
            raise ValueError(f"{concept.name} is read by the SAE but has no group")
        return group_score(concept.group, activations)
    return (detector_readout(concept.definition, texts) - concept.detector_mean) / concept.detector_sd
