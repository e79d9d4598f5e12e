"""The pages that `tiltc diff` prints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

from pydantic import BaseModel

from tiltc.canonical import canonical_json
from tiltc.diff.plans import ForecastDiff, PlanDiff
from tiltc.diff.rows import RowChange
from tiltc.figures import NONE, STYLES, Style, apart, count, interval, number, one_line, short, signed
from tiltc.plan import Interval
from tiltc.show import Format
from tiltc.templating import render_template

#: Forecast changes of concepts that no signal names are listed for this many.
MOVERS = 8
FORECAST_HEADER = ("concept", "with the plan, before", "after", "trained, before", "after")
ROWS_HEADER = ("row", "keep", "weight", "offset", "reason after")

_DIGEST = re.compile(r"[0-9a-f]{64}")


def render(changes: PlanDiff, style: Format = "text") -> str:
    """The page that `tiltc diff` prints, ending in a newline."""
    if style == "json":
        return canonical_json(_data(changes))
    return render_template(f"diff.{STYLES[style].suffix}.j2", **_values(changes, STYLES[style]))


def _data(changes: PlanDiff) -> dict[str, Any]:
    """The diff as plain JSON; `different` says in one word what `--exit-code` says."""
    return {"different": not changes.empty, **_plain(asdict(changes))}


def _plain(value: Any) -> Any:
    """Dataclasses are plain already; the plan's own types inside them are not."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(inner) for inner in cast("Iterable[Any]", value)]
    return value


def _values(changes: PlanDiff, style: Style) -> dict[str, Any]:
    named = [d for d in changes.forecast if d.named]
    rest = [d for d in changes.forecast if not d.named]
    return {
        "d": changes,
        "name": style.name,
        "text": style.text,
        "value": written,
        "named": named and style.table(FORECAST_HEADER, [_forecast_row(d, style) for d in named]),
        "movers": rest and style.table(FORECAST_HEADER, [_forecast_row(d, style) for d in rest[:MOVERS]]),
        "more": max(len(rest) - MOVERS, 0),
        "examples": style.table(ROWS_HEADER, [_example(c, style) for c in changes.rows.examples]),
    }


def _forecast_row(d: ForecastDiff, style: Style) -> tuple[str, ...]:
    rows = (d.before, d.after)
    tilted = [interval(row.tilted) if row else NONE for row in rows]
    return (style.name(d.called or d.name), *tilted, *(signed(row.simulated_tilted) if row else NONE for row in rows))


def _example(change: RowChange, style: Style) -> tuple[str, ...]:
    cells = (change.keep, change.weight, change.margin_offset)
    return (style.name(change.row_id), *(_step(*cell) for cell in cells), style.text(change.reason) or NONE)


def _step(before: bool | float, after: bool | float) -> str:
    """`before -> after`, or the one value where nothing changes."""
    first, second = written(before, after) if isinstance(before, bool) else apart(before, after)
    return first if before == after else f"{first} -> {second}"


def written(before: Any, after: Any) -> tuple[str, str]:
    """Two values as they are written beside each other: as many digits as it takes to see that they differ."""
    if isinstance(before, float) and isinstance(after, float):
        first, second = apart(before, after)
        return _trimmed(first), _trimmed(second)
    first, second = _one(before), _one(after)
    return first, second + " (differs in what is not shown)" if first == second else second


def _trimmed(figure: str) -> str:
    return figure.rstrip("0").rstrip(".") if "." in figure and "e" not in figure else figure


def _one(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return count(value) if isinstance(value, int) else _trimmed(number(value))
    if isinstance(value, Mapping):
        return _mapping(cast("Mapping[str, Any]", value))
    if isinstance(value, list | tuple):
        return ", ".join(_one(inner) for inner in cast("Iterable[Any]", value))
    return short(value) if isinstance(value, str) and _DIGEST.fullmatch(value) else one_line(value)


def _mapping(value: Mapping[str, Any]) -> str:
    """An interval as an interval, a group by its features."""
    if value.keys() == Interval.model_fields.keys():
        return interval(Interval.model_validate(value), plus=False)
    if "members" in value:
        return "features " + ", ".join(str(member["feature"]) for member in value["members"])
    return canonical_json(value)
