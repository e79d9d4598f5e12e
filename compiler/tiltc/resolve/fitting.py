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
from tiltc.resolve.world import World, detector_scores

if TYPE_CHECKING:
    from tiltc.parse import Definition


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
    if concept.kind == "examples":
        return _fit_examples(world, definition)
    key = ["fit", concept.reading()]
    return world.derived.model(key, Fitted, lambda: _fit_labelled(world, presence(world, definition)))


def found_cluster(world: World, key: str) -> tuple[int, ...] | None:
    from tiltc.audit.clusters import audit_clusters

    return audit_clusters(world.evidence, world.derived, key[0]).features.get(key)


def presence(world: World, definition: Definition) -> npt.NDArray[np.bool_]:
    """(2N,) which responses show a concept that has a detector, all chosen ones first."""
    raw = detector_scores(world, definition)
    if definition.concept.surface == "length":
        return raw > np.median(raw[world.both])
    return raw > 0


def _fit_labelled(world: World, label: npt.NDArray[np.bool_]) -> Fitted:
    both = world.both
    half = np.concatenate([world.pairs.half, world.pairs.half])[both]
    activations = world.responses[both]
    texts = Labelled(activations, world.residuals[both], label[both], half)
    count = int(label[both].sum())
    detector = resolve_group(texts, activations) if texts.enough() else None
    return _as_fitted(detector, count, len(half))


def _fit_examples(world: World, definition: Definition) -> Fitted | None:
    from tiltc.evidence import contrast_digest

    key = contrast_digest(definition)
    contrast = world.evidence.contrast(key)
    if contrast is None:
        return None
    pair = [p or str(i) for i, p in enumerate(contrast.table.column("pair").to_pylist())]
    half = _even_halves(pair)
    label = np.asarray(contrast.labels, dtype=bool)
    texts = Labelled(
        sparse.csc_matrix(contrast.matrix("max")), np.asarray(contrast.residuals(), dtype=np.float64), label, half
    )

    def make() -> Fitted:
        found = resolve_group(texts, world.responses[world.both]) if texts.enough() else None
        return _as_fitted(found, int(label.sum()), len(label))

    return world.derived.model(["contrast", key], Fitted, make)


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
