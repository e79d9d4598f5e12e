"""Scores of rollouts: is a concept present by its detector, and what does the plan's readout say?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc import detectors
from tiltc.groups import group_score
from tiltc.plan import Plan, PlanConcept
from tiltc.readout import concept_scores, gate_is_open
from tiltc_runtime.prompts import Prompt

Array = npt.NDArray[np.float64]

#: a text with fewer letters and digits than this among its visible characters is not language
LETTERS = 0.4
#: a text with fewer words is too short to loop
FEWEST_WORDS = 20
#: a text loops when less than this share of its word 4-grams are different ones
DISTINCT = 0.4


@dataclass(frozen=True)
class Scored:
    """What one policy's rollouts score, by concept name, in the order of the rollouts.

    Attributes:
        present: (rollouts,) 1 where the detector fires, else 0; for concepts that have one.
        score: (rollouts,) standardised readout; for concepts and discovered groups.
        degenerate: (rollouts,) texts that say nothing, see `degenerate`.
        timed_out: concepts whose pattern ran away on one of the texts, and which are in neither dictionary.
    """

    present: dict[str, Array]
    score: dict[str, Array]
    degenerate: npt.NDArray[np.bool_]
    timed_out: tuple[str, ...] = ()


def measured_concepts(plan: Plan) -> tuple[PlanConcept, ...]:
    """The concepts that a response can show: gates and definitions that read prompts are left out."""
    return tuple(c for c in plan.concepts if c.role != "gate" and c.definition.reads == "response")


def has_rate(concept: PlanConcept) -> bool:
    """True when "present" means something for single texts. Every text has a length."""
    return detectors.has_detector(concept.definition) and concept.definition.surface != "length"


def score_texts(
    plan: Plan, texts: Sequence[str], activations: sparse.csc_matrix, projections: Mapping[str, Array] | None = None
) -> Scored:
    """Score texts by everything that the plan can read.

    Args:
        activations: (n, F) max activations.
        projections: key of each of the plan's vectors -> (n,) max projection; see `readout.concept_scores`.
    """
    present: dict[str, Array] = {}
    score: dict[str, Array] = {d.name: group_score(d.group, activations) for d in plan.discovered}
    timed_out: list[str] = []
    for concept in measured_concepts(plan):
        try:
            shown = detectors.present(concept.definition, texts).astype(np.float64) if has_rate(concept) else None
            if concept.readout == "detector" or concept.projection is not None or concept.group is not None:
                score[concept.name] = concept_scores(concept, texts, activations, projections)
        except detectors.PatternTimeout:
            timed_out.append(concept.name)
            continue
        if shown is not None:
            present[concept.name] = shown
    return Scored(present, score, np.array([degenerate(text) for text in texts], dtype=bool), tuple(timed_out))


def gates_read_features(plan: Plan) -> bool:
    """Is any gate a group of SAE features, so that prompts must be read through the model?"""
    return any(c.role == "gate" and c.readout == "sae" for c in plan.concepts)


def open_gates(
    plan: Plan, prompts: Sequence[Prompt], activations: sparse.csc_matrix | None = None
) -> dict[str, npt.NDArray[np.bool_]]:
    """(prompts,) which prompts express each gate; a gate whose pattern runs away is open nowhere.

    Args:
        activations: (prompts, F) max activations, for gates that are groups of features.

    Raises:
        ValueError: there is such a gate, and no activations.
    """
    texts = [prompt.text for prompt in prompts]
    return {c.name: _expressed(c, texts, activations) for c in plan.concepts if c.role == "gate"}


def _expressed(gate: PlanConcept, texts: Sequence[str], activations: sparse.csc_matrix | None) -> npt.NDArray[np.bool_]:
    if gate.readout == "sae" and gate.group is not None:
        if activations is None:
            raise ValueError(f"gate {gate.name} is a group of features: prompts must be read through the model")
        return gate_is_open(gate.group, activations)
    try:
        return np.asarray(detectors.present(gate.definition, texts), dtype=bool)
    except (detectors.PatternTimeout, ValueError):
        return np.zeros(len(texts), dtype=bool)


def degenerate(text: str) -> bool:
    """True for a text that says nothing: empty, hardly a letter in it, or the same few words over and over."""
    words = text.split()
    visible = "".join(words)
    if sum(map(str.isalnum, visible)) <= LETTERS * len(visible):
        return True
    if len(words) < FEWEST_WORDS:
        return False
    runs = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return len(set(runs)) < DISTINCT * len(runs)
