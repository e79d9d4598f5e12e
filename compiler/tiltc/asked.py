"""What a signal asks for, written as a spec writes it: `to: 1.2x`, `within: 10%`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiltc.plan import ForecastRow, Plan
from tiltc.spec import Signal

#: options that are shares of something, where they are no multiple
_SHARES = ("to", "within", "fraction")


def options(signal: Signal) -> dict[str, Any]:
    """What is asked for beside verb, concept and gate, which make a signal's label; nothing for what is left to the compiler."""
    said = signal.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: value for key, value in said.items() if key not in (signal.verb, "when") and value != "auto"}


def written(option: str, value: Any) -> str:
    """An option's value in the spec's own form."""
    if option == "to" and isinstance(value, Mapping):
        return f"{value['times']:g}x" if value.get("times") is not None else f"{value.get('sd', 0.0):g} sd"
    if option in _SHARES:
        return f"{100 * value:g}%"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def asked(signal: Signal) -> str:
    """A signal's options on one line."""
    return ", ".join(f"{option}: {written(option, value)}" for option, value in options(signal).items())


def by_label(plan: Plan) -> dict[str, Signal]:
    """The plan's signals by the labels of their forecasts."""
    rows: dict[tuple[str | None, str, str | None], list[ForecastRow]] = {}
    for row in plan.forecast:
        rows.setdefault((row.verb, row.name, row.when), []).append(row)
    # those that are told apart from different others have the order of the spec
    return {
        of.pop(0).label: signal
        for signal in plan.signals
        if (of := rows.get((signal.verb, signal.concept, signal.when)))
    }
