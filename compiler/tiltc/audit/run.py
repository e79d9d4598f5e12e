"""The whole audit on one screen: rows -> two views -> families of tests -> multiplicity and noise -> hypotheses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from tiltc.audit.assemble import Judged, Named, cluster_id, hypotheses, planned_deltas, rows_id, strongest
from tiltc.audit.cautions import cautions
from tiltc.audit.concepts import ConceptGaps, concept_effects, concept_gaps, concept_p
from tiltc.audit.describe import Reader, contexts, responses
from tiltc.audit.examples import Album
from tiltc.audit.families import Family, feature_families, prompt_families
from tiltc.audit.feature_view import FeatureView, feature_view
from tiltc.audit.inside import Array
from tiltc.audit.intervals import brief
from tiltc.audit.model import Audit, Design, Hypothesis, Noise, Settings
from tiltc.audit.noise import ALPHA, Swaps, adjusted_parts, swap, swaps_for
from tiltc.audit.planned import row_weights, unseen
from tiltc.audit.prompt_view import PromptView, prompt_view
from tiltc.audit.rows import Rows, read_rows
from tiltc.audit.scale import Scale, scaled
from tiltc.derived import Derived
from tiltc.diagnostics import Diagnostics
from tiltc.plan import DataPin

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition
    from tiltc.planfile import LoadedPlan

#: fewer usable rows than this can't be audited
FEWEST_ROWS = 50


@dataclass(frozen=True)
class Asked:
    """What an audit may be given beside the evidence."""

    library: Mapping[str, Definition]
    plan: LoadedPlan | None = None
    labels: Mapping[int, str] | None = None
    derived: Derived = Derived(None)  # noqa: RUF009 - frozen
    scale: Scale | None = None
    #: an unpaired audit: what stands for rejected, and what is to be said of the match
    reference: DataPin | None = None
    cautions: tuple[str, ...] = ()


def audit(evidence: Evidence, asked: Asked) -> tuple[Audit | None, Diagnostics]:
    """Find what the data would teach. Findings: T710 too few rows."""
    found = Diagnostics()
    rows = read_rows(evidence)
    if rows.n < FEWEST_ROWS or rows.cluster.max(initial=0) < 1:
        found.add("T710", None, f"{rows.n} of {len(rows.place)} pairs can be used, {FEWEST_ROWS} are needed")
        return None, found
    scale = asked.scale or scaled(rows.n)
    features, prompts = feature_view(evidence, rows, scale), prompt_view(evidence, rows, scale)
    families = [*feature_families(features, rows, scale), *prompt_families(prompts, rows, scale)]
    gaps = concept_gaps(evidence, rows, asked.library, asked.derived)
    return _told(evidence, rows, asked, scale, features, prompts, families, gaps), found


def _told(
    evidence: Evidence, rows: Rows, asked: Asked, scale: Scale,
    features: FeatureView, prompts: PromptView, families: list[Family], gaps: ConceptGaps,
) -> Audit:  # fmt: skip
    named = {"feature": _feature_names(features, rows), "prompt": _prompt_names(prompts)}
    q = adjusted_parts([*(f.result.p.ravel() for f in families), concept_p(gaps)])
    top = [strongest(f, scale.reported) for f in families]
    count = swaps_for(families, scale)
    chance = swap(families, (gaps.gap, gaps.cluster), rows, gaps.sample, top, count, scale.seed)
    weight = row_weights(asked.plan.rows, rows) if asked.plan else None
    album = Album(evidence, rows)
    told: list[Hypothesis] = []
    for i, family in enumerate(families):
        planned = None if weight is None else planned_deltas(family, top[i], weight)
        noise = np.quantile(chance.reported[i], 0.95, axis=0)
        judged = Judged(q[i].reshape(family.result.p.shape), noise, planned)
        told += hypotheses(family, top[i], judged, named[family.view], album, scale)
    planned_gaps = None if weight is None else (gaps.gap * weight[gaps.sample][:, None]).mean(0)
    reader = Reader(evidence, rows, gaps, asked.labels or {}, album)
    return Audit(
        compiler=version("tiltc"),
        evidence=evidence.manifest.digest,
        request=evidence.manifest.request,
        model=evidence.manifest.model,
        sae=evidence.manifest.sae,
        data=evidence.manifest.data,
        reference=asked.reference,
        plan=asked.plan.plan.digest if asked.plan else None,
        settings=_settings(rows, features, prompts, scale, count, "unpaired" if asked.reference else "paired"),
        concepts=concept_effects(gaps, rows, q[-1], np.quantile(chance.concepts, 0.95, axis=0), planned_gaps),
        responses=responses(reader, features, prompts, named, told),
        contexts=contexts(reader, features, prompts, named, told),
        hypotheses=tuple(told),
        pairs=tuple(album.pairs),
        noise=_noise(families, q, chance),
        cautions=(*asked.cautions, *_planned_cautions(asked.plan), *cautions(evidence, rows, scale)),
    )


def _feature_names(view: FeatureView, rows: Rows) -> Named:
    ids = np.array(rows.row_ids, dtype=object)
    context = [rows_id("k", ids[view.label == k].tolist()) for k in range(len(view.clustering.centroids))]
    return Named([cluster_id("g", g) for g in view.groups], context, view.groups)


def _prompt_names(view: PromptView) -> Named:
    prompts = [cluster_id("p", g) for g in view.prompts]
    return Named([cluster_id("d", g) for g in view.responses], prompts, view.responses)


def _noise(families: list[Family], q: list[Array], chance: Swaps) -> tuple[Noise, ...]:
    out: list[Noise] = []
    for i, family in enumerate(families):
        z, delta = chance.z[i], chance.delta[i]
        out.append(
            Noise(
                view=family.view,
                whole=family.whole,
                tests=len(q[i]),
                largest_z_median=brief(np.median(z)),
                largest_z_95=brief(np.quantile(z, 0.95)),
                largest_delta_95=brief(np.quantile(delta, 0.95)),
                found=int((q[i] < ALPHA).sum()),
                found_swapped=brief(chance.found[i].mean()),
                swaps_with_any=brief((chance.found[i] > 0).mean()),
            )
        )
    return tuple(out)


def _settings(
    rows: Rows, features: FeatureView, prompts: PromptView, scale: Scale, swaps: int, design: Design
) -> Settings:
    shared = ("tau", "silent", "n_top", "fewest_rows", "fewest_features", "fires_in", "components", "resolution")
    return Settings(
        design=design,
        rows=len(rows.place),
        usable=rows.n,
        active=int(features.active.sum()),
        prompts=int(rows.cluster.max()) + 1,
        data_clusters=len(features.clustering.centroids),
        prompt_clusters=len(prompts.prompts),
        delta_clusters=len(prompts.responses),
        geometry_rows=scale.geometry_rows,
        edges=scale.edges,
        swaps=swaps,
        resamples=scale.resamples,
        seed=scale.seed,
        **{name: getattr(scale, name) for name in shared},
    )


def _planned_cautions(plan: LoadedPlan | None) -> tuple[str, ...]:
    text = None if plan is None else unseen(plan.rows)
    return () if text is None else (text,)
