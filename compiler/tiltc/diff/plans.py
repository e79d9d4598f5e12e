"""Compare two plans and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from tiltc.asked import by_label, options, written
from tiltc.diff.rows import RowsDiff, compare_rows
from tiltc.plan import ForecastRow, Interval, Plan, PlanConcept
from tiltc.spec import Signal

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Change:
    """One value by its dotted name. None: it is not there."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ConceptDiff:
    """How a concept is read and what its evidence allows, before and after."""

    name: str
    changes: tuple[Change, ...]
    features_in: tuple[int, ...] = ()
    features_out: tuple[int, ...] = ()
    #: features of both groups whose weight or scale differs
    features_reweighted: tuple[int, ...] = ()


@dataclass(frozen=True)
class ForecastDiff:
    """One row of the forecast, by its label; None where a plan doesn't have it."""

    name: str
    before: ForecastRow | None
    after: ForecastRow | None
    #: what a reader is told for the name
    called: str = ""

    @property
    def named(self) -> bool:
        """Whether a signal of either plan names the concept."""
        return any(row is not None and row.kind == "declared" for row in (self.before, self.after))

    @property
    def shift(self) -> float:
        """How far the forecast first-step signal moves, in sd of gap; infinite where only one plan has it."""
        if self.before is None or self.after is None:
            return float("inf")
        return abs(self.after.tilted.value - self.before.tilted.value)


@dataclass(frozen=True)
class PlanDiff:
    """Everything that differs between two plans; empty tuples where nothing does."""

    name: Change
    digest: Change
    pins: tuple[Change, ...]
    #: verb of each signal, by label, and what of its options differs, in the spec's own form
    signals: tuple[Change, ...]
    #: whole actions, by signal and mechanism
    actions: tuple[Change, ...]
    concepts: tuple[ConceptDiff, ...]
    forecast: tuple[ForecastDiff, ...]
    rows: RowsDiff
    spend: tuple[Change, ...]
    #: train, verify, budget, model, sae, data, overrides
    settings: tuple[Change, ...]
    #: findings of the compile, by code and what they are about
    findings: tuple[Change, ...]
    allowed: tuple[Change, ...]
    #: fields for which this diff has no section of its own
    other: tuple[Change, ...] = ()

    @property
    def empty(self) -> bool:
        """True when the two plans say the same and do the same."""
        same_rows_and_name = not self.rows.any and self.name.before == self.name.after
        return same_rows_and_name and not any(getattr(self, section) for section in SECTIONS)


SECTIONS = ("pins", "signals", "actions", "concepts", "forecast", "spend", "settings", "findings", "allowed", "other")


def diff(before: Plan, after: Plan, rows_before: pa.Table, rows_after: pa.Table) -> PlanDiff:
    """Compare two plans and their rows (`plan.ROW_COLUMNS`). Numbers are compared exactly: plans are made of facts."""
    return PlanDiff(
        name=Change("name", before.name, after.name),
        digest=Change("digest", before.digest, after.digest),
        pins=_changes(_flat({"compiler": before.compiler, **_dump(before.pins)}),
                      _flat({"compiler": after.compiler, **_dump(after.pins)})),
        signals=(*_changes(_verbs(before), _verbs(after)), *_options(before, after)),
        actions=_changes(_actions(before), _actions(after)),
        concepts=_concepts(before, after),
        forecast=_forecast(before, after),
        rows=compare_rows(rows_before, rows_after),
        spend=_changes(_dump(before.spend), _dump(after.spend)),
        settings=_changes(_settings(before), _settings(after)),
        findings=_changes(_findings(before), _findings(after)),
        allowed=_changes({a.code: a.because for a in before.allowed}, {a.code: a.because for a in after.allowed}),
        other=_changes(_other(before), _other(after)),
    )  # fmt: skip


def _dump(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; an interval stays whole."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner.keys() != Interval.model_fields.keys():
            flat |= _flat(cast("Mapping[str, Any]", inner), f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs, in the order of `before`, then what only `after` has."""
    names = dict.fromkeys((*before, *after))
    pairs = (Change(name, before.get(name), after.get(name)) for name in names)
    return tuple(change for change in pairs if change.before != change.after)


def _verbs(plan: Plan) -> dict[str, str | None]:
    return {row.label: row.verb for row in plan.forecast if row.kind == "declared"}


def _options(before: Plan, after: Plan) -> tuple[Change, ...]:
    """What signals that both plans have ask for differently."""
    old, new = by_label(before), by_label(after)
    return tuple(c for label in old if label in new for c in _of_signal(label, old[label], new[label]))


def _of_signal(label: str, before: Signal, after: Signal) -> Iterator[Change]:
    """`to: 1.2x -> 1.5x`; values that are written alike are written in full."""
    for change in _changes(options(before), options(after)):
        option, pair = change.name, (change.before, change.after)
        said = [None if value is None else written(option, value) for value in pair]
        yield Change(f"{label} {option}", *([str(value) for value in pair] if said[0] == said[1] else said))


def _findings(plan: Plan) -> dict[str, Any]:
    """By code and text; what is different about the same finding shows as a change of it."""
    return {f"{f.severity}[{f.code}] {f.text}": "; ".join([f.title, *f.notes, *f.helps]) for f in plan.findings}


def _actions(plan: Plan) -> dict[str, dict[str, Any]]:
    return {f"{action.signal} ({action.mechanism})": _dump(action) for action in plan.actions}


def _settings(plan: Plan) -> dict[str, Any]:
    keys = ("train", "verify", "budget", "model", "sae", "data", "overrides")
    return _flat({key: value for key, value in _dump(plan).items() if key in keys})


def _other(plan: Plan) -> dict[str, Any]:
    told: dict[str, Any] = {f"prompt {i}": text for i, text in enumerate(plan.prompts)}
    told |= {f"steering {i}": _dump(steering) for i, steering in enumerate(plan.steering)}
    told |= {f"control {i}": _dump(control) for i, control in enumerate(plan.controls)}
    groups: dict[str, Any] = {f"discovered {d.name}": _dump(d.group) for d in plan.discovered}
    groups |= {f"discovered {d.name} is called": d.called for d in plan.discovered}
    forecast = by_label(plan).values()
    groups |= {f"signal {i}": _dump(signal) for i, signal in enumerate(plan.signals) if signal not in forecast}
    return groups | told | {"plan_version": plan.plan_version}


def _concepts(before: Plan, after: Plan) -> tuple[ConceptDiff, ...]:
    old, new = ({concept.name: concept for concept in plan.concepts} for plan in (before, after))
    found = (_concept(name, old.get(name), new.get(name)) for name in dict.fromkeys((*old, *new)))
    return tuple(d for d in found if d.changes or d.features_in or d.features_out or d.features_reweighted)


def _concept(name: str, before: PlanConcept | None, after: PlanConcept | None) -> ConceptDiff:
    if before and after:
        changes = _changes(_facts(before), _facts(after))
    else:
        changes = (Change("status", before and before.status, after and after.status),)
    return ConceptDiff(name, changes, *_features(before, after))


def _facts(concept: PlanConcept) -> dict[str, Any]:
    """Everything a plan says about a concept but the members of its group, by dotted name."""
    dumped = _dump(concept)
    detection = {d["tool"]: {k: v for k, v in d.items() if k != "tool"} for d in dumped["detection"]}
    group = {"mean": concept.group.mean, "sd": concept.group.sd} if concept.group else {}
    return _flat({**dumped, "detection": detection, "group": group})


def _features(before: PlanConcept | None, after: PlanConcept | None) -> tuple[tuple[int, ...], ...]:
    """Features in, out, and reweighted."""
    old, new = ({m.feature: m for m in c.group.members} if c and c.group else {} for c in (before, after))
    both = old.keys() & new.keys()
    changed = tuple(sorted(f for f in both if old[f] != new[f]))
    return tuple(sorted(new.keys() - old.keys())), tuple(sorted(old.keys() - new.keys())), changed


def _forecast(before: Plan, after: Plan) -> tuple[ForecastDiff, ...]:
    """Changed forecasts: named concepts in the plan's order, then the others, the furthest moved first."""
    old, new = ({row.label: row for row in plan.forecast} for plan in (before, after))
    called = {group.name: group.called for plan in (before, after) for group in plan.discovered}
    found = (
        ForecastDiff(name, old.get(name), new.get(name), called.get(name, name)) for name in dict.fromkeys((*old, *new))
    )
    changed = [d for d in found if d.before != d.after]
    named = [d for d in changed if d.named]
    rest = sorted((d for d in changed if not d.named), key=lambda d: (-d.shift, d.name))
    return (*named, *rest)
