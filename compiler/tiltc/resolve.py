"""Resolve: every name of a spec as evidence (design section 5), or a diagnostic that says why not."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from scipy import sparse

from tiltc import detectors
from tiltc.canonical import sha256_text
from tiltc.derived import Derived
from tiltc.diagnostics import Diagnostics, Span
from tiltc.fit import Detector, Labelled, resolve_group, rounded
from tiltc.groups import discover, group_score, make_group, width
from tiltc.plan import Detection, Discovered, Group, Interval, PlanConcept, Preference, Status
from tiltc.readout import detector_readout
from tiltc.resolved import Measured, Pairs, ResolvedSignal, ResolvedSpec
from tiltc.spec import Amplify, Concept, Keep, Suppress
from tiltc.stats import benjamini_hochberg, clusters, halves, length_controlled_effect, mean_effect

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition, SpecFile

Array = npt.NDArray[np.float64]

#: a concept counts as detected when the lower end of its held-out AUROC reaches this
LEAST_AUROC = 0.60
#: two unrelated groups are rivals when the second's AUROC comes this close and their gaps correlate less than that
RIVAL_WITHIN, RIVAL_UNRELATED = 0.01, 0.3
#: false discovery rate at which a preference counts as a signal
Q_SIGNAL = 0.05
#: the SAE group is clearly worse than the direction when it is lower by more than this and the intervals don't touch
CLEARLY_WORSE = 0.02


class Fitted(BaseModel):
    """The cached part of a resolved concept: everything that takes long and depends on no other concept."""

    group: Group | None
    detection: tuple[Detection, ...]
    rival: Group | None
    rival_auroc: float
    positives: int
    texts: int


@dataclass(frozen=True)
class _World:
    """The evidence as the fitting code wants it."""

    evidence: Evidence
    derived: Derived
    pairs: Pairs
    responses: sparse.csc_matrix
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    prompts: tuple[str, ...]
    residuals: Array

    @property
    def both(self) -> npt.NDArray[np.bool_]:
        return np.concatenate([self.pairs.usable, self.pairs.usable])


def resolve(spec_file: SpecFile, evidence: Evidence, derived: Derived) -> tuple[ResolvedSpec | None, Diagnostics]:
    """Resolve all signals, gates and the library concepts that the evidence carries."""
    found = Diagnostics()
    world = _read(evidence, derived)
    spec = spec_file.spec
    wanted = {s.concept: ("signals", i, s.verb) for i, s in reversed(list(enumerate(spec.signals)))}
    gates = {s.when: ("signals", i, "when") for i, s in reversed(list(enumerate(spec.signals))) if s.when}
    asked = {s.concept: s.readout for s in reversed(spec.signals) if s.readout}
    declared = {n: _measure(world, spec_file, n, "declared", asked.get(n), at, found) for n, at in wanted.items()}
    opened = {n: _gate(world, spec_file, n, at, found) for n, at in gates.items()}
    if found.failed:
        return None, found
    library = _library(world, spec_file, set(wanted))
    groups = derived_groups(world)
    gaps = np.column_stack(
        [_gap(world, group_score(g.group, world.responses)) for g in groups] or [np.zeros((len(world.prompts), 0))]
    )
    measured = _judge([m for m in declared.values() if m], library, gaps, world)
    by_name = {m.plan.name: m for m in measured}
    signals = tuple(
        _signal(i, ask, by_name[ask.concept], opened[ask.when] if ask.when else None, world)
        for i, ask in enumerate(spec.signals)
    )
    _report(spec_file, signals, found)
    resolved = ResolvedSpec(
        pairs=world.pairs,
        signals=signals,
        gates=tuple(g for g in opened.values() if g),
        library=tuple(m for m in measured if m.plan.role == "library"),
        discovered=groups,
        discovered_gaps=gaps,
    )
    return (None if found.failed else resolved), found


def _read(evidence: Evidence, derived: Derived) -> _World:
    table = evidence.table
    column = {name: table.column(name).to_pylist() for name in ("row_id", "group", "prompt", "chosen", "rejected")}
    tokens = {s: np.asarray(table.column(f"{s}_tokens"), dtype=np.float64) for s in ("chosen", "rejected")}
    cut = np.asarray(table.column("chosen_cut")) | np.asarray(table.column("rejected_cut"))
    usable = np.asarray(evidence.ok, dtype=bool)
    groups = np.array(column["group"])
    length_gap = np.where(usable, np.log((tokens["chosen"] + 1) / (tokens["rejected"] + 1)), 0.0)
    pairs = Pairs(
        row_ids=tuple(column["row_id"]),
        usable=usable,
        cluster=clusters(groups),
        half=halves(groups),
        length_gap=length_gap,
        cut_share=float(cut[usable].mean()) if usable.any() else 0.0,
    )
    stacked = sparse.csc_matrix(sparse.vstack([evidence.matrix("chosen", "max"), evidence.matrix("rejected", "max")]))
    residuals = np.concatenate([evidence.residuals("chosen"), evidence.residuals("rejected")]).astype(np.float64)
    texts = {k: tuple(column[k]) for k in ("chosen", "rejected", "prompt")}
    return _World(evidence, derived, pairs, stacked, texts["chosen"], texts["rejected"], texts["prompt"], residuals)


def derived_groups(world: _World) -> tuple[Discovered, ...]:
    class Found(BaseModel):
        groups: tuple[Discovered, ...]

    rows = world.responses[world.both]
    return world.derived.model("discovered", Found, lambda: Found(groups=discover(rows))).groups


def _gap(world: _World, scores: Array) -> Array:
    n = len(world.pairs.usable)
    return np.where(world.pairs.usable, scores[:n] - scores[n:], 0.0)


def _measure(
    world: _World,
    spec_file: SpecFile,
    name: str,
    role: Literal["declared", "library"],
    asked: str | None,
    route: tuple[str | int, ...],
    found: Diagnostics,
) -> Measured | None:
    definition = spec_file.library[name]
    concept = definition.concept
    at = spec_file.at(route)
    if concept.kind in ("contrast", "label"):
        found.add(
            "T204",
            at,
            f"`{name}` is defined by `{concept.kind}`",
            helps=["define it by `pattern`, `words`, `surface` or `examples`"],
        )
        return None
    try:
        fitted = _fitted(world, definition)
    except detectors.PatternTimeout as slow:
        found.add("T208", at, f"the pattern of `{name}` ran for more than {slow.seconds:g} s on one text")
        return None
    if fitted is None:
        found.add(
            "T209",
            at,
            f"the contrast set of `{name}` is not in the evidence",
            helps=["run `tiltc harvest` on this spec again"],
        )
        return None
    readout = _readout(concept, asked, fitted)
    if readout is None and role == "library":
        return None
    if readout is None:
        _unresolved(spec_file, name, fitted, at, found)
        return None
    return _measured(world, definition, role, readout, fitted)


def _readout(concept: Concept, asked: str | None, fitted: Fitted) -> Literal["sae", "detector"] | None:
    """Which readout a concept gets: what was asked for, the SAE group where it detects, nothing otherwise."""
    if concept.surface == "length" or asked == "detector":
        return "detector" if detectors.has_detector(concept) else None
    if fitted.group is None:
        return None
    sae = next((d for d in fitted.detection if d.tool == "sae"), None)
    return "sae" if sae is None or sae.auroc.low >= LEAST_AUROC else None


def _fitted(world: _World, definition: Definition) -> Fitted | None:
    concept = definition.concept
    if concept.kind == "features":
        features = np.array(sorted(concept.features or ()), dtype=np.int64)
        inside = features[features < width(world.responses)]
        rows = world.responses[world.both]
        fires = np.diff(rows[:, inside].indptr) > 0 if len(inside) else np.array([], dtype=bool)
        group = (
            make_group(inside[fires], np.full(int(fires.sum()), 1 / max(int(fires.sum()), 1)), rows)
            if fires.any()
            else None
        )
        return Fitted(group=group, detection=(), rival=None, rival_auroc=0.0, positives=0, texts=rows.shape[0])
    if concept.kind == "examples":
        return _fit_examples(world, definition)
    key = ["fit", concept.model_dump(mode="json", exclude={"about", "meta", "parents"})]
    return world.derived.model(key, Fitted, lambda: _fit_labelled(world, _presence(world, definition)))


def _presence(world: _World, definition: Definition) -> npt.NDArray[np.bool_]:
    raw = _detector_scores(world, definition)
    if definition.concept.surface == "length":
        return raw > np.median(raw[world.both])
    return raw > 0


def _detector_scores(world: _World, definition: Definition) -> Array:
    concept = definition.concept
    key = ["detector", concept.model_dump(mode="json", exclude={"about", "meta", "parents"})]
    return world.derived.array(key, lambda: detector_readout(concept, [*world.chosen, *world.rejected]))


def _fit_labelled(world: _World, label: npt.NDArray[np.bool_]) -> Fitted:
    both = world.both
    half = np.concatenate([world.pairs.half, world.pairs.half])[both]
    activations = world.responses[both]
    texts = Labelled(activations, world.residuals[both], label[both], half)
    count = int(label[both].sum())
    detector = resolve_group(texts, activations) if texts.enough() else None
    return _as_fitted(detector, count, len(half))


def _fit_examples(world: _World, definition: Definition) -> Fitted | None:
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


def _measured(
    world: _World,
    definition: Definition,
    role: Literal["declared", "library"],
    readout: Literal["sae", "detector"],
    fitted: Fitted,
) -> Measured:
    concept = definition.concept
    raw = _detector_scores(world, definition) if detectors.has_detector(concept) else None
    mean, sd = _moments(raw, world)
    if readout == "detector" or fitted.group is None:
        scores = ((raw if raw is not None else np.zeros(len(world.both))) - mean) / sd
    else:
        scores = group_score(fitted.group, world.responses)
    rates = _rates(raw, world) if raw is not None and concept.surface != "length" else (None, None)
    plan = PlanConcept(
        name=definition.name,
        role=role,
        definition=concept.model_copy(update={"meta": None}),
        status=_status(fitted, world, readout),
        readout=readout,
        group=fitted.group,
        detector_mean=mean,
        detector_sd=sd,
        detection=fitted.detection,
        preference=_preference(_gap(world, scores), world, rates),
        contrast=_contrast_digest(definition),
    )
    return Measured(plan, _gap(world, scores))


def _moments(raw: Array | None, world: _World) -> tuple[float, float]:
    """Mean and sd of the detector readout over both responses of the usable pairs."""
    if raw is None:
        return 0.0, 1.0
    inside = raw[world.both]
    return float(f"{inside.mean():.7g}"), float(f"{max(inside.std(), 1e-6):.7g}")


def _rates(raw: Array, world: _World) -> tuple[float, float]:
    """Share of chosen and of rejected responses in which the concept is present."""
    n, usable = len(world.prompts), world.pairs.usable
    return float(f"{raw[:n][usable].mean():.6g}"), float(f"{raw[n:][usable].mean():.6g}")


def _status(fitted: Fitted, world: _World, readout: str) -> Status:
    """Ambiguous when an unrelated second group detects the concept as well as the first and reads other pairs."""
    sae = next((d for d in fitted.detection if d.tool == "sae"), None)
    if readout != "sae" or sae is None or fitted.rival is None or fitted.group is None:
        return "resolved"
    if fitted.rival_auroc < sae.auroc.value - RIVAL_WITHIN:
        return "resolved"
    first, second = (_gap(world, group_score(g, world.responses)) for g in (fitted.group, fitted.rival))
    together = float(np.corrcoef(first, second)[0, 1]) if first.any() and second.any() else 0.0
    return "ambiguous" if together < RIVAL_UNRELATED else "resolved"


def _contrast_digest(definition: Definition) -> str | None:
    from tiltc.evidence import contrast_digest

    return contrast_digest(definition) if definition.concept.kind == "examples" else None


def _preference(gap: Array, world: _World, rates: tuple[float | None, float | None]) -> Preference:
    usable, pairs = world.pairs.usable, world.pairs
    cluster = pairs.usable_cluster
    effect = mean_effect(gap[usable], cluster)
    controlled = length_controlled_effect(gap[usable], pairs.length_gap[usable], cluster)
    first, second = (gap[usable & side].mean() if (usable & side).any() else 0.0 for side in (pairs.half, ~pairs.half))
    return Preference(
        effect=rounded(effect.interval),
        effect_length_controlled=rounded(controlled.interval),
        p=float(f"{effect.p:.6g}"),
        q=1.0,
        split_half_agrees=bool(first * second > 0),
        chosen_rate=rates[0],
        rejected_rate=rates[1],
    )


def _library(world: _World, spec_file: SpecFile, declared: set[str]) -> tuple[Measured, ...]:
    """Concepts nobody named that the data carries: measured for collateral, left out silently when it doesn't."""
    out: list[Measured] = []
    for name, definition in sorted(spec_file.library.items()):
        concept = definition.concept
        if name in declared or concept.reads != "response" or concept.kind in ("contrast", "label", "features"):
            continue
        measured = _measure(world, spec_file, name, "library", None, ("signals", 0), Diagnostics())
        if measured is not None:
            out.append(measured)
    return tuple(out)


def _judge(declared: list[Measured], library: tuple[Measured, ...], groups: Array, world: _World) -> list[Measured]:
    """q over everything tested, and the status that follows from it."""
    usable = world.pairs.usable
    cluster = world.pairs.usable_cluster
    tested = [*declared, *library]
    p = [m.plan.preference.p for m in tested if m.plan.preference] + [
        mean_effect(g[usable], cluster).p for g in groups.T
    ]
    q = benjamini_hochberg(np.array(p))
    out: list[Measured] = []
    for measured, value in zip(tested, q, strict=False):
        plan = measured.plan
        assert plan.preference is not None
        preference = plan.preference.model_copy(update={"q": float(f"{value:.6g}")})
        status: Status = plan.status if plan.status == "ambiguous" else "resolved" if value < Q_SIGNAL else "weak"
        out.append(Measured(plan.model_copy(update={"preference": preference, "status": status}), measured.gap))
    return out


def _gate(
    world: _World, spec_file: SpecFile, name: str, route: tuple[str | int, ...], found: Diagnostics
) -> Measured | None:
    definition = spec_file.library[name]
    concept = definition.concept
    if not detectors.has_detector(concept):
        found.add(
            "T207",
            spec_file.at(route),
            f"`{name}` is defined by `{concept.kind}`",
            helps=["define the gate by `pattern` or `words`"],
        )
        return None
    present = detectors.present(concept, world.prompts)
    plan = PlanConcept(
        name=name,
        role="gate",
        definition=concept.model_copy(update={"meta": None}),
        status="resolved",
        readout="detector",
    )
    return Measured(plan, np.zeros(len(present)), np.asarray(present, dtype=bool))


def _signal(
    index: int, ask: Suppress | Keep | Amplify, concept: Measured, gate: Measured | None, world: _World
) -> ResolvedSignal:
    gap = concept.gap if gate is None or gate.present is None else np.where(gate.present, concept.gap, 0.0)
    effect = mean_effect(gap, world.pairs.cluster)
    return ResolvedSignal(index, ask, concept, gate, gap, effect.interval.value, effect.se)


def _unresolved(spec_file: SpecFile, name: str, fitted: Fitted, at: Span, found: Diagnostics) -> None:
    notes = [f"{fitted.positives} of {fitted.texts} texts show it"]
    sae = next((d for d in fitted.detection if d.tool == "sae"), None)
    if sae is not None:
        notes.append(f"best group: held-out AUROC {_show(sae.auroc)}; needed: lower end of at least {LEAST_AUROC:.2f}")
    elif spec_file.library[name].concept.kind == "features":
        found.add("T206", at, f"none of the features of `{name}` fires on this data", notes=notes)
        return
    else:
        notes.append("at least 10 with and 10 without are needed in each half of the data")
    near = difflib.get_close_matches(name, [n for n in spec_file.library if n != name], 3, 0.5)
    helps = ["give the concept a contrast set: `examples: FILE`"] + (
        [f"similar names: {', '.join(f'`{n}`' for n in near)}"] if near else []
    )
    found.add("T201", at, f"nothing in the evidence detects `{name}`", notes=notes, helps=helps)


def _report(spec_file: SpecFile, signals: tuple[ResolvedSignal, ...], found: Diagnostics) -> None:
    for signal in signals:
        plan = signal.concept.plan
        tools = {d.tool: d for d in plan.detection}
        at = spec_file.at(("signals", signal.index, signal.verb))
        if plan.status == "ambiguous":
            features = ", ".join(str(m.feature) for m in plan.group.members) if plan.group else "none"
            found.add(
                "T202",
                at,
                f"two unrelated groups detect `{plan.name}` equally well",
                notes=[f"the first was taken: features {features}", f"held-out AUROC: {_show(tools['sae'].auroc)}"],
                helps=["define the concept more narrowly", "pin the features you mean: `features: [..]`"],
            )
        if plan.readout == "sae" and "direction" in tools and _clearly_worse(tools["sae"], tools["direction"]):
            found.add(
                "T203",
                at,
                f"the SAE group of `{plan.name}` is a poor reading of it",
                notes=[f"held-out AUROC: {tool} {_show(d.auroc)}" for tool, d in tools.items()],
                helps=["read it by its own detector: `readout: detector`"]
                if detectors.has_detector(plan.definition)
                else [],
            )


def _clearly_worse(sae: Detection, direction: Detection) -> bool:
    return sae.auroc.value < direction.auroc.value - CLEARLY_WORSE and sae.auroc.high < direction.auroc.low


def _show(interval: Interval) -> str:
    return f"{interval.value:.3f} (95% {interval.low:.3f}-{interval.high:.3f})"
