"""Where everything sits in the report's figures. Templates turn this into SVG; nothing here knows a tag or a colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tiltc.plan import Interval
from tiltc_runtime.report.figures import level, shift, signed
from tiltc_runtime.report.model import (
    CollateralRow,
    ConceptOutcome,
    Forecast,
    ForecastPoint,
    Frontier,
    Kind,
    Levels,
    Measure,
    PolicyName,
    Verb,
)

#: rows that a dot plot shows before it stops being readable; the tables hold all of them
MOST_ROWS = 24


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A linear axis: value -> position in SVG units, with round ticks."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers inside the axis."""
        step = nice_step(self.high - self.low, wanted)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def nice_step(width: float, wanted: int) -> float:
    """1, 2 or 5 times a power of ten, so that about `wanted` steps fill the width."""
    power = 10 ** math.floor(math.log10(width / wanted))
    return min((m * power for m in (1, 2, 5, 10)), key=lambda step: abs(width / step - wanted))


def axis(values: Sequence[float], start: float, end: float, *, zero: bool = True, floor: float = 1e-3) -> Axis:
    """An axis that holds all values, zero if asked, with 4% of air; at least `floor` wide."""
    held = [*values, 0.0] if zero else list(values)
    low, high = min(held), max(held)
    air = 0.04 * max(high - low, floor)
    return Axis(low - air, max(high + air, low + floor), start, end)


@dataclass(frozen=True)
class Dot:
    """A value with its interval on one policy's line of a row."""

    policy: PolicyName
    x: float
    low: float
    high: float
    y: float


@dataclass(frozen=True)
class LevelRow:
    name: str
    verb: Verb | None
    y: float
    dots: tuple[Dot, ...]
    told: str


@dataclass(frozen=True)
class LevelPlot:
    """The level of each concept under every policy, with intervals."""

    width: int
    height: int
    rows: tuple[LevelRow, ...]
    ticks: tuple[Tick, ...]
    zero: float
    top: float
    bottom: float


def level_plot(concepts: Sequence[ConceptOutcome], measure: Measure) -> LevelPlot | None:
    """The levels of the concepts in one measure; named ones first, then by how far they moved. None for no concept."""
    shown = [(c, levels) for c in concepts if c.rollouts and (levels := _levels(c, measure)) is not None]
    shown.sort(key=lambda pair: (pair[0].verb is None, -abs((pair[0].difference or pair[0].shift_tilted).value)))
    shown = shown[:MOST_ROWS]
    if not shown:
        return None
    ends = [v for _, levels in shown for interval in _each(levels).values() for v in (interval.low, interval.high)]
    scale = axis(ends, 236, 840, floor=0.02)
    if measure == "rate":
        scale = Axis(0.0, min(max(scale.high, 0.02), 1.0), 236, 840)
    top, pitch = 14.0, 38.0
    rows = tuple(_level_row(c, levels, scale, top + pitch * (i + 0.5), measure) for i, (c, levels) in enumerate(shown))
    bottom = top + pitch * len(rows)
    ticks = tuple(Tick(scale.at(v), f"{100 * v:.3g}%" if measure == "rate" else signed(v, 1)) for v in scale.ticks())
    return LevelPlot(860, int(bottom + 30), rows, ticks, scale.at(0.0), top, bottom)


def _levels(concept: ConceptOutcome, measure: Measure) -> Levels | None:
    return concept.rates if measure == "rate" else (concept.scores if concept.measure == "score" else None)


def _each(levels: Levels) -> dict[PolicyName, Interval]:
    named: dict[PolicyName, Interval | None] = {
        "start": levels.start, "plain": levels.plain, "control": levels.control, "tilted": levels.tilted,
    }  # fmt: skip
    return {name: interval for name, interval in named.items() if interval is not None}


def _level_row(concept: ConceptOutcome, levels: Levels, scale: Axis, y: float, measure: Measure) -> LevelRow:
    sides = _each(levels)
    gap = 10.0 if len(sides) == 2 else 9.0 if len(sides) == 3 else 8.0
    offsets = {name: gap * (i - (len(sides) - 1) / 2) for i, name in enumerate(sides)}
    dots = tuple(
        Dot(
            name,
            scale.at(v.value),
            scale.at(max(v.low, scale.low)),
            scale.at(min(v.high, scale.high)),
            y + offsets[name],
        )
        for name, v in sides.items()
    )
    told = ", ".join(f"{name} {level(v, measure)}" for name, v in sides.items())
    return LevelRow(concept.name, concept.verb, y, dots, told)


@dataclass(frozen=True)
class Point:
    name: str
    kind: Kind
    verb: Verb | None
    x: float
    y: float
    low: float
    high: float
    told: str
    #: where the name is written; None for points that only have a tooltip
    label: tuple[float, float, str] | None


@dataclass(frozen=True)
class ScatterPlot:
    """Forecast (across) against realised shift of the tilted policy (up), with the fitted line through zero."""

    width: int
    height: int
    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: tuple[float, float]
    #: x1, y1, x2, y2
    line: tuple[float, float, float, float]
    left: float
    right: float
    top: float
    bottom: float


def scatter_plot(points: Sequence[ForecastPoint], forecast: Forecast, slope: float) -> ScatterPlot:
    """Every concept and group; the named ones are labelled."""
    foreseen = [p.foreseen(forecast, "tilted") for p in points]
    ends = [v for p in points for v in (p.realised_tilted.low, p.realised_tilted.high)]
    across, up = axis(foreseen, 56, 424), axis(ends, 316, 14)
    order: tuple[Kind, ...] = ("discovered", "library", "declared")
    pairs = sorted(zip(points, foreseen, strict=True), key=lambda pair: order.index(pair[0].kind))
    drawn = _labelled([_point(p, f, across, up) for p, f in pairs], across.end)
    return ScatterPlot(
        width=440,
        height=356,
        points=tuple(drawn),
        x_ticks=tuple(Tick(across.at(v), signed(v, _digits(across))) for v in across.ticks()),
        y_ticks=tuple(Tick(up.at(v), signed(v, _digits(up))) for v in up.ticks()),
        zero=(across.at(0.0), up.at(0.0)),
        line=_clipped(slope, across, up),
        left=across.start,
        right=across.end,
        top=up.end,
        bottom=up.start,
    )


def _point(p: ForecastPoint, foreseen: float, across: Axis, up: Axis) -> Point:
    told = f"{p.name}: forecast {signed(foreseen, 3)}, realised {shift(p.realised_tilted, 'score')}"
    seen = p.realised_tilted
    return Point(
        p.name, p.kind, p.verb, across.at(foreseen), up.at(seen.value), up.at(seen.low), up.at(seen.high), told, None
    )


def _labelled(points: list[Point], right: float) -> list[Point]:
    """Names beside the declared points, on the inner side, pushed apart where they would overlap."""
    taken: list[float] = []
    out: list[Point] = []
    for point in sorted(points, key=lambda p: p.y):
        if point.kind != "declared":
            out.append(point)
            continue
        y = point.y - 6
        while any(abs(y - other) < 12 for other in taken):
            y += 3
        taken.append(y)
        inner = point.x > 0.6 * right
        out.append(replace(point, label=(point.x + (-8 if inner else 8), y, "end" if inner else "start")))
    return sorted(out, key=lambda p: p.kind == "declared")


def _clipped(slope: float, across: Axis, up: Axis) -> tuple[float, float, float, float]:
    """The line realised = slope * forecast inside the frame."""
    if slope == 0:
        return across.start, up.at(0.0), across.end, up.at(0.0)
    bounds = sorted((up.low / slope, up.high / slope))
    low, high = max(across.low, bounds[0]), min(across.high, bounds[1])
    return across.at(low), up.at(slope * low), across.at(high), up.at(slope * high)


def _digits(scale: Axis) -> int:
    return max(0, -math.floor(math.log10(nice_step(scale.high - scale.low, 5)) + 1e-9))


#: characters that have room beside a row of `shift_plot`
LONGEST_NAME = 34


@dataclass(frozen=True)
class ShiftRow:
    name: str
    kind: Kind
    clear: bool
    x: float
    low: float
    high: float
    y: float
    told: str


@dataclass(frozen=True)
class ShiftPlot:
    """Collateral shifts with intervals, largest first."""

    width: int
    height: int
    rows: tuple[ShiftRow, ...]
    ticks: tuple[Tick, ...]
    zero: float
    top: float
    bottom: float


def shift_plot(collateral: Sequence[CollateralRow], q_clear: float) -> ShiftPlot | None:
    shown = collateral[:MOST_ROWS]
    if not shown:
        return None
    scale = axis([v for row in shown for v in (row.shift.low, row.shift.high)], 236, 840)
    top, pitch = 14.0, 22.0
    rows = tuple(_shift_row(row, scale, top + pitch * (i + 0.5), q_clear) for i, row in enumerate(shown))
    bottom = top + pitch * len(rows)
    ticks = tuple(Tick(scale.at(v), signed(v, _digits(scale))) for v in scale.ticks())
    return ShiftPlot(860, int(bottom + 30), rows, ticks, scale.at(0.0), top, bottom)


def _shift_row(row: CollateralRow, scale: Axis, y: float, q_clear: float) -> ShiftRow:
    told = f"{row.called}: {shift(row.shift, 'score')}, q = {row.q:.3f}"
    v, name = row.shift, row.title or row.name
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return ShiftRow(name, row.kind, row.q < q_clear, scale.at(v.value), scale.at(v.low), scale.at(v.high), y, told)


@dataclass(frozen=True)
class PanelPoint:
    x: float
    y: float
    low: float
    high: float
    told: str


@dataclass(frozen=True)
class Guide:
    """A level to compare with: of the starting policy, or of plain training."""

    policy: PolicyName
    y: float


@dataclass(frozen=True)
class Panel:
    """One figure of a sweep (up) against the share of the signal that the plan leaves (across)."""

    title: str
    points: tuple[PanelPoint, ...]
    guides: tuple[Guide, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class FrontierPlot:
    """The panels of a sweep: what is reached, what moves along, held-out loss. Plain training stands at 100%."""

    width: int
    height: int
    panels: tuple[Panel, ...]


def frontier_plot(frontier: Frontier) -> FrontierPlot:
    measure = frontier.measure
    reached = [(p.left, p.level.value, p.level.low, p.level.high) for p in frontier.points]
    spill = [(p.left, p.spill, p.spill, p.spill) for p in frontier.points if p.spill is not None]
    loss = [(p.left, p.loss, p.loss, p.loss) for p in frontier.points if p.loss is not None]
    levels: dict[PolicyName, float | None] = {
        "start": frontier.start.value,
        "plain": None if frontier.plain is None else frontier.plain.value,
    }
    losses: dict[PolicyName, float | None] = {"start": frontier.loss_start, "plain": frontier.loss_plain}
    panels = [
        _panel(f"{frontier.name}, {'rate' if measure == 'rate' else 'score in sd'}", reached, levels, measure, 0),
        _panel("mean shift of what no signal names, sd", spill, {}, "score", 1),
        _panel("held-out loss, nats a token", loss, losses, "score", 2, zero=False),
    ]
    return FrontierPlot(1080, 280, tuple(panel for panel in panels if panel.points))


def _panel(
    title: str,
    values: Sequence[tuple[float, float, float, float]],
    guides: Mapping[PolicyName, float | None],
    measure: Measure,
    place: int,
    *,
    zero: bool = True,
) -> Panel:
    beside: dict[PolicyName, float] = {name: value for name, value in guides.items() if value is not None}
    start = 44.0 + 360.0 * place
    across = axis([*(left for left, *_ in values), 1.0], start, start + 300.0)
    ends = [end for *_, low, high in values for end in (low, high)]
    up = axis([*ends, *beside.values()] or [0.0], 240.0, 30.0, zero=zero)

    def written(value: float) -> str:
        return f"{100 * value:.3g}%" if measure == "rate" else f"{value:.{max(_digits(up), 1)}f}"

    points = tuple(
        PanelPoint(across.at(x), up.at(y), up.at(low), up.at(high), f"{100 * x:.0f}% left: {written(y)}")
        for x, y, low, high in values
    )
    return Panel(
        title,
        points,
        tuple(Guide(name, up.at(value)) for name, value in beside.items()),
        tuple(Tick(across.at(v), f"{100 * v:.0f}%") for v in across.ticks(4)),
        tuple(Tick(up.at(v), written(v)) for v in up.ticks(4)),
        across.start,
        across.end,
        up.end,
        up.start,
    )
