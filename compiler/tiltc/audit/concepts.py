"""What the whole data set teaches of each library concept, read by its own detector off the texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiltc import detectors
from tiltc.audit.intervals import brief
from tiltc.audit.model import ConceptEffect
from tiltc.audit.rows import Array, Bools, Ints, Rows
from tiltc.derived import Derived
from tiltc.fit import rounded
from tiltc.readout import detector_readout
from tiltc.stats import length_controlled_effect, mean_effect

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition

#: pairs whose texts the detectors read
MOST_PAIRS = 20_000
#: responses that must show a concept before it is tested
FEWEST_SHOWING = 5


@dataclass(frozen=True)
class ConceptGaps:
    """Library concepts on a sample of the usable rows.

    Attributes:
        sample: (n,) the rows whose texts were read; g of them.
        presence: per concept, (2 g,) present in the chosen, then in the rejected responses.
        gap: (g, c) standardised readout, chosen minus rejected; `names` are its columns.
    """

    sample: Bools
    definitions: Mapping[str, Definition]
    names: tuple[str, ...]
    presence: dict[str, Bools]
    gap: Array
    cluster: Ints


def concept_gaps(evidence: Evidence, rows: Rows, library: Mapping[str, Definition], derived: Derived) -> ConceptGaps:
    sample = rows.sample(MOST_PAIRS)
    texts = [*_texts(evidence, rows, "chosen", sample), *_texts(evidence, rows, "rejected", sample)]
    names: list[str] = []
    gaps: list[Array] = []
    presence: dict[str, Bools] = {}
    for name, definition in sorted(library.items()):
        concept = definition.concept
        if concept.reads != "response" or not detectors.has_detector(concept):
            continue
        key = ["audit-detector", MOST_PAIRS, concept.meaning]
        try:
            raw = derived.array(key, lambda c=concept: detector_readout(c, texts))
        except detectors.PatternTimeout:
            continue
        if concept.surface != "length":
            presence[name] = raw > 0
        if raw.std() > 0 and (concept.surface == "length" or presence[name].sum() >= FEWEST_SHOWING):
            names.append(name)
            gaps.append((raw[: len(raw) // 2] - raw[len(raw) // 2 :]) / raw.std())
    gap = np.column_stack(gaps) if gaps else np.zeros((int(sample.sum()), 0))
    cluster = np.unique(rows.cluster[sample], return_inverse=True)[1].astype(np.int64)
    return ConceptGaps(sample, library, tuple(names), presence, gap, cluster)


def _texts(evidence: Evidence, rows: Rows, side: str, sample: Bools) -> list[str]:
    column = evidence.table.column(side)
    return column.take(rows.origin[sample]).to_pylist()


def concept_effects(
    found: ConceptGaps, rows: Rows, q: Array, noise: Array, planned: Array | None
) -> tuple[ConceptEffect, ...]:
    """One row a concept, the strongest effect first.

    Args:
        q, noise: (c,); planned: (c,) mean gap with the plan's weights, or None.
    """
    effects = [_effect(found, rows, i, q, noise, planned) for i in range(len(found.names))]
    return tuple(sorted(effects, key=lambda e: (-abs(e.effect.value), e.name)))


def concept_p(found: ConceptGaps) -> Array:
    """(c,) two-sided, cluster-robust"""
    return np.array([mean_effect(g, found.cluster).p for g in found.gap.T])


def _effect(found: ConceptGaps, rows: Rows, i: int, q: Array, noise: Array, planned: Array | None) -> ConceptEffect:
    name, gap = found.names[i], found.gap[:, i]
    half = rows.half[found.sample]
    effect = mean_effect(gap, found.cluster)
    controlled = length_controlled_effect(gap, rows.length_gap[found.sample], found.cluster)
    shown = found.presence.get(name)
    rates = (None, None) if shown is None else (shown[: len(gap)].mean(), shown[len(gap) :].mean())
    return ConceptEffect(
        name=name,
        about=found.definitions[name].concept.about,
        effect=rounded(effect.interval),
        effect_length=rounded(controlled.interval),
        p=brief(effect.p),
        q=brief(q[i]),
        agrees=bool(gap[half].mean() * gap[~half].mean() > 0) if half.any() and not half.all() else False,
        noise=brief(noise[i]),
        chosen_rate=None if rates[0] is None else brief(rates[0]),
        rejected_rate=None if rates[1] is None else brief(rates[1]),
        planned=None if planned is None else brief(planned[i]),
    )
