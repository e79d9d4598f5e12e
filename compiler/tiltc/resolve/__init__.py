"""Resolve: every name of a spec as evidence (design section 5), or a diagnostic that says why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import sparse

from tiltc import detectors
from tiltc.derived import Derived
from tiltc.diagnostics import Diagnostics, Span
from tiltc.groups import group_score, width
from tiltc.plan import Apart, Discovered, Group, PlanConcept
from tiltc.readout import gate_is_open, share_group
from tiltc.residual import residual
from tiltc.resolve.attention import probe_recipe
from tiltc.resolve.fitting import Fitted, fit_definition, sampled_of
from tiltc.resolve.judging import Q_SIGNAL, judge, measured
from tiltc.resolve.masking import Wanted, mask, token_threshold
from tiltc.resolve.naming import named_groups
from tiltc.resolve.pulls import pull_of
from tiltc.resolve.reft import adapter_recipe, fitted_adapter, gains
from tiltc.resolve.report import (
    LEAST_AUROC,
    report_blind,
    report_idle_adapter,
    report_lost_cluster,
    report_no_layer,
    report_no_threshold,
    report_no_vector,
    report_readings,
    report_silent,
    report_unfiltered,
    report_unread,
    report_unresolved,
)
from tiltc.resolve.tools import (
    VECTORS,
    Readings,
    attention_reader,
    group_readings,
    vector_of,
    vector_reader,
    vector_readings,
)
from tiltc.resolve.world import World, gap, read_world
from tiltc.resolved import Masking, Measured, ResolvedSignal, ResolvedSpec
from tiltc.spec import Amplify, Concept, Keep, Readout, Suppress, VectorTool
from tiltc.stats import mean_effect

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition, SpecFile

__all__ = ["Q_SIGNAL", "resolve"]


def resolve(spec_file: SpecFile, evidence: Evidence, derived: Derived) -> tuple[ResolvedSpec | None, Diagnostics]:
    """Resolve all signals, gates and the library concepts that the evidence carries."""
    found = Diagnostics()
    world = read_world(evidence, derived)
    if _single_responses(spec_file, evidence, found):
        return None, found
    if len(np.unique(world.pairs.cluster[world.pairs.usable])) < 2:
        found.add(
            "T210",
            spec_file.at(("data",)),
            f"{int(world.pairs.usable.sum())} of {len(world.prompts)} pairs can be used",
            notes=["pairs of two or more different prompts are needed"],
        )
        return None, found
    spec = spec_file.spec
    wanted = {s.concept: ("signals", i, s.verb) for i, s in reversed(list(enumerate(spec.signals)))}
    gates = {s.when: ("signals", i, "when") for i, s in reversed(list(enumerate(spec.signals))) if s.when}
    asked: dict[str, Readout] = {s.concept: s.readout for s in reversed(spec.signals) if s.readout}
    declared = {n: _measure(world, spec_file, n, "declared", asked.get(n), at, found) for n, at in wanted.items()}
    opened = {n: _gate(world, spec_file, n, at, found) for n, at in gates.items()}
    if found.failed:
        return None, found
    apart = _apart(spec_file)
    needed = {
        n: _measure(world, spec_file, n, "library", None, at, found) for n, at in apart.items() if n not in wanted
    }
    if found.failed:
        return None, found
    library = _library(world, spec_file, set(wanted), {n: m for n, m in needed.items() if m})
    groups = named_groups(world, spec_file.library)
    gaps = np.column_stack(
        [gap(world, group_score(g.group, world.responses)) for g in groups] or [np.zeros((len(world.prompts), 0))]
    )
    measured = judge([m for m in declared.values() if m], library, gaps, world)
    by_name = {m.plan.name: m for m in measured}
    signals = tuple(
        _signal(i, ask, by_name, opened[ask.when] if ask.when else None, world, spec_file, found)
        for i, ask in enumerate(spec.signals)
    )
    report_readings(spec_file, signals, found)
    masking = _masking(world, spec_file, signals, tuple(by_name.values()), groups, found)
    resolved = ResolvedSpec(
        pairs=world.pairs,
        signals=signals,
        gates=tuple(g for g in opened.values() if g),
        library=tuple(m for m in measured if m.plan.role == "library"),
        discovered=groups,
        discovered_gaps=gaps,
        masking=masking,
    )
    return (None if found.failed else resolved), found


def _single_responses(spec_file: SpecFile, evidence: Evidence, found: Diagnostics) -> bool:
    """T210 for data without pairs, which KTO alone can learn from, and that only where some responses are unwanted."""
    counts = Counter(evidence.table.column("status").to_pylist())
    single, unwanted = counts["single"], counts["unwanted"]
    if counts["ok"] or not single + unwanted or (unwanted and spec_file.spec.train.method == "kto"):
        return False
    text = f"{single + unwanted} of {counts.total()} rows are single responses, {unwanted} of them labelled unwanted"
    notes = ["a signal is a gap: of the two responses of a pair, or of wanted and unwanted ones under `method: kto`"]
    helps = (
        ["train: {method: kto}"] if unwanted else ["`tiltc audit` compares single responses with those of a reference"]
    )
    found.add("T210", spec_file.at(("data",)), text, notes=notes, helps=helps)
    return True


def _measure(
    world: World,
    spec_file: SpecFile,
    name: str,
    role: Literal["declared", "library"],
    asked: Readout | None,
    route: tuple[str | int, ...],
    found: Diagnostics,
) -> Measured | None:
    definition = spec_file.library[name]
    concept = definition.concept
    at = spec_file.at(route)
    if concept.kind == "label":
        helps = ["define it by `pattern`, `words`, `surface`, `examples` or `contrast`"]
        found.add("T204", at, f"`{name}` is defined by `label`", helps=helps)
        return None
    try:
        fitted = fit_definition(world, definition)
    except detectors.PatternTimeout as slow:
        found.add("T208", at, f"the pattern of `{name}` ran for more than {slow.seconds:g} s on one text")
        return None
    if fitted is None and concept.audit is not None:
        report_lost_cluster(name, concept.audit, at, found)
        return None
    if fitted is None:
        found.add(
            "T209",
            at,
            f"the contrast set of `{name}` is not in the evidence",
            helps=["run `tiltc harvest` on this spec again"],
        )
        return None
    report_unfiltered(spec_file, name, sampled_of(world, definition), at, found)
    # without an SAE, whatever a detector finds is read by it, what no signal names included
    asked = asked or ("detector" if not width(world.responses) else None)
    readout = _readout(concept, asked, fitted)
    if readout is None:
        report_unresolved(spec_file, name, fitted, at, found)
        return None
    report_silent(name, fitted, at, found)
    if readout in VECTORS or readout == "attention":
        return _read_by_token(world, definition, readout, fitted, at, found)
    return measured(world, definition, role, readout, fitted)


def _read_by_token(
    world: World,
    definition: Definition,
    readout: VectorTool | Literal["attention"],
    fitted: Fitted,
    at: Span,
    found: Diagnostics,
) -> Measured | None:
    """A concept that is read by a vector or attention probe: off every token, in the second pass of harvest."""
    if readout == "attention":
        recipe = probe_recipe(world, definition)
        possible, reader = recipe is not None, None if recipe is None else attention_reader(world, recipe)
    else:
        reader = vector_reader(world, definition, readout)
        possible = reader is not None
    if not possible:
        report_no_vector(definition.name, readout, at, found)
        return None
    readings = None if reader is None else vector_readings(world, reader.tool)
    if readings is None:
        report_unread(definition.name, at, found)
        return None
    concept = measured(world, definition, "declared", readout, fitted, readings, reader)
    mine = next((d for d in concept.plan.detection if d.tool == readout), None)
    if mine is not None and mine.auroc.low < LEAST_AUROC:
        report_blind(definition, mine, at, found)
        return None
    return concept


def _readout(concept: Concept, asked: Readout | None, fitted: Fitted) -> Readout | None:
    """Which readout a concept gets: what was asked for, the SAE group where it detects, nothing otherwise."""
    if asked in VECTORS or asked == "attention":
        return asked
    if concept.surface == "length" or asked == "detector":
        return "detector" if detectors.has_detector(concept) else None
    if fitted.group is None:
        return None
    sae = next((d for d in fitted.detection if d.tool == "sae"), None)
    return "sae" if sae is None or sae.auroc.low >= LEAST_AUROC else None


def _apart(spec_file: SpecFile) -> dict[str, tuple[str | int, ...]]:
    """The concepts that signals are told apart from and that must be there, with the place that asks for them.

    Siblings need not be: of a family the data carries what it carries.
    """
    signals = reversed(list(enumerate(spec_file.spec.signals)))
    asking = [(i, s) for i, s in signals if getattr(s, "apart_from", None) not in (None, "siblings")]
    return {name: ("signals", i, "apart_from") for i, s in asking for name in spec_file.apart(s)}


def _library(
    world: World, spec_file: SpecFile, declared: set[str], needed: dict[str, Measured]
) -> tuple[Measured, ...]:
    """Concepts that no signal changes or keeps: those that are `needed`, and what the data carries of the others."""
    out = dict(needed)
    for name, definition in spec_file.library.items():
        concept = definition.concept
        if (
            name in declared
            or name in needed
            or concept.reads != "response"
            or concept.kind in ("label", "features", "audit")
        ):
            continue
        measured = _measure(world, spec_file, name, "library", None, ("signals", 0), Diagnostics())
        if measured is not None:
            out[name] = measured
    return tuple(m for _, m in sorted(out.items()))


def _gate(
    world: World, spec_file: SpecFile, name: str, route: tuple[str | int, ...], found: Diagnostics
) -> Measured | None:
    concept = spec_file.library[name].concept
    if concept.audit is not None:
        return _audited_gate(world, name, concept, spec_file.at(route), found)
    present = np.asarray(detectors.present(concept, world.prompts), dtype=bool)
    return Measured(_gate_plan(name, concept, "detector", None), np.zeros(len(present)), present)


def _audited_gate(world: World, name: str, concept: Concept, at: Span | None, found: Diagnostics) -> Measured | None:
    """A prompt cluster of the audit: open where as many of its features fire as on the rows that the audit tested."""
    from tiltc.audit.clusters import audit_clusters

    key = str(concept.audit)
    clusters = audit_clusters(world.evidence, world.derived, key[0])
    if key not in clusters.threshold:
        report_lost_cluster(name, key, at, found)
        return None
    group = share_group(clusters.features[key], clusters.threshold[key])
    present = gate_is_open(group, sparse.csc_matrix(world.evidence.matrix("prompt", "max"))) & world.pairs.usable
    return Measured(_gate_plan(name, concept, "sae", group), np.zeros(len(present)), present)


def _gate_plan(name: str, concept: Concept, readout: Literal["sae", "detector"], group: Group | None) -> PlanConcept:
    definition = concept.model_copy(update={"meta": None})
    return PlanConcept(name=name, role="gate", definition=definition, status="resolved", readout=readout, group=group)


def _masking(
    world: World,
    spec_file: SpecFile,
    signals: tuple[ResolvedSignal, ...],
    concepts: tuple[Measured, ...],
    groups: tuple[Discovered, ...],
    found: Diagnostics,
) -> Masking | None:
    """The token masks that signals ask for, None without any; T213 where single tokens were not read."""
    asking = [s for s in signals if getattr(s.ask, "with_", "") == "tokens"]
    if not asking:
        return None
    readings: dict[str, Readings] = {}
    for signal in signals:
        concept = signal.concept
        read = _readings(world, concept)
        if read is not None:
            readings[concept.plan.name] = read
        elif concept.plan.readout != "detector":
            # its gap under the masks would be a guess, and another one once it has been read
            report_unread(concept.plan.name, spec_file.at(("signals", signal.index, signal.verb)), found)
    if found.failed:
        return None
    wanted: list[Wanted] = []
    for signal in asking:
        read = readings.get(signal.concept.plan.name)
        at = spec_file.at(("signals", signal.index, "with"))
        if read is None:
            report_unread(signal.concept.plan.name, at, found)
            continue
        definition = spec_file.library[signal.concept.plan.name]
        gate = None if signal.gate is None else signal.gate.present
        opened = world.pairs.usable if gate is None else world.pairs.usable & gate
        threshold = token_threshold(world, definition, read)
        if threshold is None:
            report_no_threshold(signal.concept.plan.name, at, found)
            continue
        side = getattr(signal.ask, "side", None)
        responses = np.concatenate([opened & (side != "rejected"), opened & (side != "chosen")])
        wanted.append(Wanted(signal.index, read, threshold, responses, getattr(signal.ask, "unit", None) or "word"))
    if not wanted or found.failed:
        return None
    try:
        return mask(world, wanted, concepts, readings, groups)
    except detectors.PatternTimeout as slow:
        # what masks leave of a text is another text than those that the pattern was tried on
        at = spec_file.at(("signals", asking[0].index, "with"))
        text = f"the pattern `{slow.pattern}` ran for more than {slow.seconds:g} s on a text without its masked tokens"
        found.add("T208", at, text)
        return None


def _readings(world: World, concept: Measured) -> Readings | None:
    """A concept token by token, through the readout that it has; None for detectors and what was not read."""
    plan = concept.plan
    if concept.reader is not None:
        return vector_readings(world, concept.reader.tool)
    return group_readings(world, plan.group) if plan.readout == "sae" and plan.group is not None else None


def _lacking(world: World, ask: Suppress | Amplify, definition: Definition) -> Literal["reft", "direction"] | None:
    """What a signal is to be steered by and what can't be fitted to its concept's texts."""
    if ask.by == "reft":
        return "reft" if adapter_recipe(world, definition) is None else None
    return "direction" if vector_of(world, definition, "direction") is None else None


def _signal(
    index: int,
    ask: Suppress | Keep | Amplify,
    by_name: Mapping[str, Measured],
    gate: Measured | None,
    world: World,
    spec_file: SpecFile,
    found: Diagnostics,
) -> ResolvedSignal:
    concept, pull = by_name[ask.concept], None
    if not isinstance(ask, Keep) and ask.with_ in ("steer", "inoculate"):
        definition, at = spec_file.library[ask.concept], spec_file.at(("signals", index, "with"))
        pull = pull_of(world, ask, definition, None if gate is None else gate.present)
        lacking = _lacking(world, ask, definition) if pull is None and ask.with_ == "steer" else None
        if lacking is not None:
            report_no_vector(ask.concept, lacking, at, found)
        elif pull is None:
            report_unread(ask.concept, at, found)
        elif pull.forward and pull.steers and pull.layer < 0:
            report_no_layer(ask.concept, at, found)
        if pull is not None and ask.by == "reft":
            fitted = fitted_adapter(world, definition)
            assert fitted is not None, "it is what was pulled with"
            report_idle_adapter(ask.concept, *gains(world, *fitted), spec_file.at(("signals", index, "by")), found)
    others = sorted(n for n in set(spec_file.apart(ask)) if n in by_name)
    if spec_file.apart(ask) and not others:
        found.add(
            "T139",
            spec_file.at(("signals", index, "apart_from")),
            f"the data shows none of what `{ask.concept}` is to be told apart from: {', '.join(spec_file.apart(ask))}",
            helps=["leave `apart_from` out"],
        )
    opened = True if gate is None or gate.present is None else gate.present
    gap, *rest = (np.where(opened, by_name[n].gap, 0.0) for n in (ask.concept, *others))
    if not others:
        effect = mean_effect(gap, world.pairs.cluster)
        return ResolvedSignal(index, ask, concept, gate, gap, effect.interval.value, effect.se, pull)
    left = residual(gap, np.column_stack(rest))
    apart = Apart(
        coefficients={n: float(b) for n, b in zip(others, left.coefficients, strict=True)},
        explained=float(f"{left.explained:.6g}"),
    )
    effect = mean_effect(left.influence, world.pairs.cluster)
    today = float(left.gap.mean())
    return ResolvedSignal(index, ask, concept, gate, left.gap, today, effect.se, pull, apart, left.influence)
