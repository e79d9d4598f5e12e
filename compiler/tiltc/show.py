"""A plan as a reviewer reads it: what is pinned, what each signal rests on, what it does, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from tiltc.asked import asked, by_label, options
from tiltc.canonical import canonical_json
from tiltc.family import Kin, relatives
from tiltc.figures import NONE, STYLES, Style, count, interval, number, share, short, signed
from tiltc.plan import Action, ForecastRow, Plan, PlanConcept
from tiltc.spec import Signal
from tiltc.templating import render_template

#: Collateral is listed for this many concepts, those that move most.
MOVERS = 8
#: of a signal's relatives this many are named, those that move most
KIN = 4

Format = Literal["text", "markdown", "json"]


@dataclass(frozen=True)
class SignalView:
    """One signal of the spec, with everything that the plan says about it.

    `relatives` are the parents, siblings and children of a concept that is changed, whether a signal names them or not, the
    furthest moved first. `told` are the instructions that the policy reads, each with what the control run says in its place.
    """

    verb: str
    concept: PlanConcept
    actions: tuple[Action, ...]
    forecast: ForecastRow
    relatives: tuple[tuple[Kin, ForecastRow], ...] = ()
    told: tuple[tuple[str, str], ...] = ()
    #: as the spec has it; None for what no signal names as a whole
    ask: Signal | None = None


@dataclass(frozen=True)
class PlanView:
    """A plan, arranged for reading."""

    plan: Plan
    signals: tuple[SignalView, ...]
    gates: tuple[PlanConcept, ...]
    #: concepts that no signal names, by how far the plan moves them
    collateral: tuple[ForecastRow, ...]

    @property
    def movers(self) -> tuple[ForecastRow, ...]:
        return self.collateral[:MOVERS]

    @property
    def called(self) -> dict[str, str]:
        """What a reader is told for the names of discovered groups."""
        return {group.name: group.called for group in self.plan.discovered}


def view(plan: Plan) -> PlanView:
    """Arrange `plan` for reading. Reads nothing but the plan, so a stale one can be shown too."""
    concepts = {c.name: c for c in plan.concepts if c.role == "declared"}
    signals = tuple(_signal(plan, concepts[r.name], r) for r in plan.forecast if r.kind == "declared")
    gates = tuple(c for c in plan.concepts if c.role == "gate")
    return PlanView(plan, signals, gates, collateral(plan.forecast))


def _signal(plan: Plan, concept: PlanConcept, row: ForecastRow) -> SignalView:
    """A row without a verb is that of a concept which only gated signals name: what happens to it over all pairs."""
    named = f"{row.verb}: {row.label}"
    actions = tuple(a for a in plan.actions if a.signal == named)
    # whose a prompt is stands with its control, which a plan may lack
    both = zip(plan.prompts, plan.controls, strict=False)
    told = tuple((prompt, control.text) for prompt, control in both if control.signal == named)
    ask = by_label(plan).get(row.label) if row.verb else None
    return SignalView(row.verb or "measure", concept, actions, row, _relatives(plan, row), told, ask)


def idle(row: ForecastRow) -> str:
    """Why a signal has no action of its own, on one line."""
    if row.target is None or not met(row):
        return "none of its own"
    if row.verb == "keep":
        return "none of its own: what the others do leaves it within its tolerance"
    if _within(row, row.plain.value):
        return "none: the data is within tolerance of what is asked as it is"
    return "none of its own: what the others do takes it to its target"


def _relatives(plan: Plan, row: ForecastRow) -> tuple[tuple[Kin, ForecastRow], ...]:
    """What the plan does to a concept's family as a whole, over all pairs; nothing for what is only held."""
    if row.verb in (None, "keep"):
        return ()
    kin = relatives({c.name: c.definition.parents for c in plan.concepts}, row.name)
    found: list[tuple[Kin, ForecastRow]] = [
        (kin[r.name], r) for r in plan.forecast if r.name in kin and r.when is None and r.apart is None
    ]
    return tuple(sorted(found, key=lambda item: (-moved(item[1]), item[1].name)))


def along(signal: SignalView) -> str:
    """A signal's relatives on one line: from today's first step to that with the plan."""
    near = [
        f"{kin} {row.name} {signed(row.plain.value)} to {signed(row.tilted.value)}" for kin, row in signal.relatives
    ]
    rest = len(near) - KIN
    return ", ".join(near[:KIN]) + (f", and {rest} that move less" if rest > 0 else "")


def apart(row: ForecastRow) -> str:
    """What a signal leaves out of its concept, on one line; empty without."""
    if row.apart is None:
        return ""
    others = ", ".join(f"{name} ({signed(b)})" for name, b in row.apart.coefficients.items())
    return f"{others}: they explain {share(row.apart.explained, 0)} of the squared gap"


def collateral(forecast: Sequence[ForecastRow]) -> tuple[ForecastRow, ...]:
    """The rows that no signal names, the furthest moved first."""
    unnamed = (row for row in forecast if row.kind != "declared")
    return tuple(sorted(unnamed, key=lambda row: (-moved(row), row.name)))


def moved(row: ForecastRow) -> float:
    """How far the plan moves a concept's first-step signal, in sd of gap."""
    return abs(row.tilted.value - row.plain.value)


def remaining(row: ForecastRow) -> float | None:
    """The share of today's first-step signal that remains; None where today's interval spans zero."""
    if row.plain.low <= 0 <= row.plain.high:
        return None
    return row.tilted.value / row.plain.value


def defined(row: ForecastRow) -> float | None:
    """The share that remains by the concept's own detector; None where that reads it anyway, or today's spans zero."""
    own = row.defined
    return None if own is None or own.plain.low <= 0 <= own.plain.high else own.tilted.value / own.plain.value


def met(row: ForecastRow) -> bool | None:
    """Whether the first-step forecast is within tolerance of its target; None where there is no target."""
    if row.target is None:
        return None
    return _within(row, row.tilted.value)


def _within(row: ForecastRow, value: float) -> bool:
    target = row.target or 0.0
    # a tight constraint sits on its boundary, and plans carry six digits
    digits = 1e-5 * (abs(value) + abs(target))
    return abs(value - target) <= (row.tolerance or 0.0) + digits + 1e-9


def show(plan: Plan, style: Format = "text") -> str:
    """The page that `tiltc show` prints, ending in a newline."""
    if style == "json":
        return canonical_json(_data(view(plan)))
    return render_template(f"plan.{STYLES[style].suffix}.j2", **_values(view(plan), STYLES[style]))


def summary(plan: Plan) -> str:
    """What `tiltc compile` prints: each signal with its action, the forecast, the spend."""
    return render_template("summary.txt.j2", **_values(view(plan), STYLES["text"]))


def _values(page: PlanView, style: Style) -> dict[str, Any]:
    spend = page.plan.spend
    return {
        "view": page,
        "along": along,
        "apart": apart,
        "asked": asked,
        "idle": idle,
        "plan": page.plan,
        "training": training(page.plan),
        "pins": style.table(PIN_HEADER, pin_rows(page.plan, style)),
        "forecast": _forecast_table(page.signals, style),
        "movers": page.movers
        and style.table(MOVER_HEADER, [_mover_row(row, page.called, style) for row in page.movers]),
        "dropped": spend.rows - spend.unusable - spend.kept,
        "usable": max(spend.rows - spend.unusable, 1),
    }


PIN_HEADER = ("", "name", "digest", "")
FORECAST_HEADER = ("concept", "signal", "today", "with the plan", "left", "target", "", "trained today", "with it")
#: where it stands in a table of which some row has a detector beside its readout
DEFINED, DEFINED_AT = "by detector", FORECAST_HEADER.index("left") + 1
MOVER_HEADER = ("concept", "", "today", "with the plan", "left", "trained today", "with it")


def pin_rows(plan: Plan, style: Style) -> list[tuple[str, ...]]:
    """What the plan depends on, a row each."""
    pins = plan.pins
    size = f"{pins.model.layers} layers, width {pins.model.width}"
    features = f"{count(pins.sae.features)} features at {pins.sae.hook}" if pins.sae.features else "detectors alone"
    rows = [
        ("spec", NONE, pins.spec, ""),
        ("evidence", NONE, pins.evidence, ""),
        ("model", pins.model.name, pins.model.digest, size),
        ("sae", pins.sae.name, pins.sae.digest, features),
        ("data", pins.data.name, pins.data.digest, f"{count(pins.data.rows)} pairs"),
        ("template", NONE, pins.template, f"max length {pins.max_length}"),
        *(("contrast", name, digest, "") for name, digest in sorted(pins.contrasts.items())),
        ("rows", NONE, pins.rows, ""),
    ]
    return [(what, style.name(name), style.name(short(digest)), style.text(note)) for what, name, digest, note in rows]


def _forecast_table(signals: Sequence[SignalView], style: Style) -> str:
    header, rows = FORECAST_HEADER, [_forecast_row(s, style) for s in signals]
    if any(s.forecast.defined for s in signals):
        own = [share(defined(s.forecast), 0) for s in signals]
        header = (*header[:DEFINED_AT], DEFINED, *header[DEFINED_AT:])
        rows = [(*r[:DEFINED_AT], o, *r[DEFINED_AT:]) for r, o in zip(rows, own, strict=True)]
    return style.table(header, rows)


def _forecast_row(signal: SignalView, style: Style) -> tuple[str, ...]:
    row = signal.forecast
    target = NONE if row.target is None else f"{signed(row.target)} ± {number(row.tolerance or 0.0)}"
    verdict = {None: "", True: "met", False: "missed"}[met(row)]
    return (style.name(row.label), signal.verb, *_figures(row)[:3], target, verdict, *_figures(row)[3:])


def _mover_row(row: ForecastRow, called: Mapping[str, str], style: Style) -> tuple[str, ...]:
    return (style.name(called.get(row.name, row.name)), row.kind, *_figures(row))


def _figures(row: ForecastRow) -> tuple[str, ...]:
    trained = (signed(row.simulated_plain), signed(row.simulated_tilted))
    return (interval(row.plain), interval(row.tilted), share(remaining(row), 0), *trained)


def training(plan: Plan) -> str:
    """The training settings on one line; those that are unset are left out."""
    train = plan.train.model_dump(mode="json", exclude_none=True)
    rest = [f"{key.replace('_', ' ')} {_setting(value)}" for key, value in train.items() if key != "method"]
    return ", ".join([plan.train.method, *rest])


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {inner}" for key, inner in cast("dict[str, Any]", value).items()) + ")"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data(page: PlanView) -> dict[str, Any]:
    plan = page.plan.model_dump(mode="json", by_alias=True)
    kept = ("name", "digest", "compiler", "model", "sae", "data", "pins", "train", "verify", "budget", "overrides")
    return {
        **{key: plan[key] for key in (*kept, "spend", "findings", "allowed")},
        "signals": [_signal_data(signal) for signal in page.signals],
        "gates": [gate.model_dump(mode="json", by_alias=True) for gate in page.gates],
        "collateral": [
            row.model_dump(mode="json") | {"moved": moved(row), "called": page.called.get(row.name, row.name)}
            for row in page.collateral
        ],
    }


def _signal_data(signal: SignalView) -> dict[str, Any]:
    row = signal.forecast
    return {
        "verb": signal.verb,
        "concept": signal.concept.model_dump(mode="json", by_alias=True),
        "asked": options(signal.ask) if signal.ask is not None else {},
        "actions": [action.model_dump(mode="json") for action in signal.actions],
        "forecast": row.model_dump(mode="json")
        | {"remaining": remaining(row), "remaining_defined": defined(row), "met": met(row)},
        "relatives": [
            {"kin": kin, "name": r.name, "plain": r.plain.value, "tilted": r.tilted.value}
            for kin, r in signal.relatives
        ],
    }
