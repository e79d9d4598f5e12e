"""From a definition to a group of features: by the texts of the data, by a contrast set, or as pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from scipy import sparse

from tiltc.canonical import sha256_text
from tiltc.fit import Detector, Labelled, resolve_group
from tiltc.groups import make_group, width
from tiltc.plan import Detection, Group
from tiltc.resolve.world import World, detector_scores, discovered_groups

if TYPE_CHECKING:
    from tiltc.evidence import ContrastSet, SampledManifest
    from tiltc.parse import Definition

#: kinds of definition that come with texts of their own, read into a contrast set
CONTRASTED = ("examples", "contrast")


class Fitted(BaseModel):
    """The cached part of a resolved concept: everything that takes long and depends on no other concept."""

    group: Group | None
    detection: tuple[Detection, ...]
    rival: Group | None
    rival_auroc: float
    positives: int
    texts: int
    #: pinned features that never fire on this data, or that the SAE does not have
    silent: tuple[int, ...] = ()


def fit_definition(world: World, definition: Definition) -> Fitted | None:
    concept = definition.concept
    if concept.kind in ("features", "audit"):
        pinned = concept.features if concept.audit is None else found_cluster(world, concept.audit)
        if pinned is None:
            return None
        features = np.array(sorted(pinned), dtype=np.int64)
        inside = features[features < width(world.responses)]
        rows = world.responses[world.both]
        fires = np.diff(rows[:, inside].indptr) > 0 if len(inside) else np.array([], dtype=bool)
        group = (
            make_group(inside[fires], np.full(int(fires.sum()), 1 / max(int(fires.sum()), 1)), rows)
            if fires.any()
            else None
        )
        silent = tuple(int(f) for f in features if f not in set(inside[fires]))
        return Fitted(
            group=group, detection=(), rival=None, rival_auroc=0.0, positives=0, texts=rows.shape[0], silent=silent
        )
    if concept.kind in CONTRASTED:
        return _fit_examples(world, definition)
    return world.derived.model(["fit", concept.meaning], Fitted, lambda: _fit_labelled(world, definition))


def labelled(world: World, definition: Definition) -> Labelled | None:
    """Texts that show a concept and texts that don't: of its contrast set, or of the data. None without either."""
    if definition.concept.kind in CONTRASTED:
        return _contrast_texts(world, definition)
    if definition.concept.kind not in ("pattern", "words", "surface"):
        return None
    both, label = world.both, presence(world, definition)
    half = np.concatenate([world.pairs.half, world.pairs.half])[both]
    return Labelled(world.responses[both], world.residuals[both], label[both], half)


def found_cluster(world: World, key: str) -> tuple[int, ...] | None:
    """The features of a cluster of the audit, or of a group that plans of this evidence list as discovered."""
    from tiltc.audit.clusters import audit_clusters
    from tiltc.resolve.naming import group_id

    for found in discovered_groups(world):
        if group_id(found.group) == key:
            return tuple(m.feature for m in found.group.members)
    return audit_clusters(world.evidence, world.derived, key[0]).features.get(key)


def presence(world: World, definition: Definition) -> npt.NDArray[np.bool_]:
    raw = detector_scores(world, definition)
    if definition.concept.surface == "length":
        return raw > np.median(raw[world.both])
    return raw > 0


def _fit_labelled(world: World, definition: Definition) -> Fitted:
    texts = labelled(world, definition)
    assert texts is not None, "only concepts with a detector are fitted on the data"
    readable = texts.enough() and width(texts.activations) > 0
    detector = resolve_group(texts, texts.activations) if readable else None
    return _as_fitted(detector, int(texts.label.sum()), len(texts.label))


def contrast_of(world: World, definition: Definition) -> str | None:
    """The digest of a definition's contrast set: of its examples, or of what was sampled. None without either.

    A sampled set is found by what it follows from, so that one of another definition is no evidence for this one.
    """
    from tiltc.evidence import contrast_digest

    if definition.concept.kind == "examples":
        return contrast_digest(definition)
    sampled = sampled_of(world, definition)
    return None if sampled is None else sampled.contrast


def sampled_of(world: World, definition: Definition) -> SampledManifest | None:
    """What is known of the answers that a `contrast` concept is read from; None for other kinds, and where none were
    sampled."""
    from tiltc.evidence import recipe_of

    if definition.concept.kind != "contrast":
        return None
    try:
        return world.evidence.sampled(recipe_of(definition).key)
    except ValueError:
        # questions that can't be read: `tiltc harvest` says why
        return None


def _fit_examples(world: World, definition: Definition) -> Fitted | None:
    texts = _contrast_texts(world, definition)
    if texts is None:
        return None

    def make() -> Fitted:
        found = resolve_group(texts, world.responses[world.both]) if texts.enough() else None
        return _as_fitted(found, int(texts.label.sum()), len(texts.label))

    return world.derived.model(["contrast", contrast_of(world, definition)], Fitted, make)


def _contrast_texts(world: World, definition: Definition) -> Labelled | None:
    digest = contrast_of(world, definition)
    contrast = world.evidence.contrast(digest) if digest else None
    if contrast is None:
        return None
    label = np.asarray(contrast.labels, dtype=bool)
    residuals = np.asarray(contrast.residuals(), dtype=np.float64)
    return Labelled(sparse.csc_matrix(contrast.matrix("max")), residuals, label, _even_halves(pairs_of(contrast)))


def pairs_of(contrast: ContrastSet) -> list[str]:
    """Which pair, or which question's answers, each text of a contrast set belongs to; one of none has its own."""
    return [pair or str(i) for i, pair in enumerate(contrast.table.column("pair").to_pylist())]


def _even_halves(pair: list[str]) -> npt.NDArray[np.bool_]:
    """Half A of a contrast set: every other pair in the order of their hashes. Small sets can't afford an uneven split."""
    first = set(sorted(set(pair), key=sha256_text)[::2])
    return np.array([p in first for p in pair], dtype=bool)


def _as_fitted(detector: Detector | None, positives: int, texts: int) -> Fitted:
    if detector is None:
        return Fitted(group=None, detection=(), rival=None, rival_auroc=0.0, positives=positives, texts=texts)
    return Fitted(
        group=detector.group,
        detection=detector.detection,
        rival=detector.rival,
        rival_auroc=float(f"{detector.rival_auroc:.6g}"),
        positives=positives,
        texts=texts,
    )
