"""Exported rows as JSON lines: the objects as they were read, and the plan's keys after theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tiltc.data.texts import with_keys

if TYPE_CHECKING:
    from tiltc.export import Exported
    from tiltc.pairs import Row


class NoForm(ValueError):
    """A value of a row that a format can't hold. `row` counts from 1."""

    def __init__(self, row: int, column: str, why: str) -> None:
        super().__init__(why)
        self.row, self.column, self.why = row, column, why


def json_lines(exported: Exported) -> Iterator[str]:
    """A line of JSON for every row, without its line break.

    Raises:
        NoForm: JSON has no form for a value.
    """
    names = list(exported.columns)
    added = zip(*(column.to_pylist() for column in exported.columns.values()), strict=True)
    texts = exported.texts or (_text(row, number) for number, row in enumerate(exported.rows, 1))
    for text, values in zip(texts, added, strict=True):
        yield with_keys(text, zip(names, values, strict=True))


def _text(row: Row, number: int) -> str:
    try:
        return _dumped(row)
    except (TypeError, ValueError):
        for column, value in row.items():
            try:
                _dumped(value)
            except (TypeError, ValueError) as error:
                raise NoForm(number, column, f"JSON has no form for {_named(error, value)}") from None
        raise


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)


def _named(error: Exception, value: Any) -> str:
    return str(value) if isinstance(value, float) else "NaN or infinity" if "float" in str(error) else str(error)


def _plain(value: object) -> str | int | float:
    """What JSON writes for a type of Parquet or CSV, where it loses nothing. Raises TypeError with the type's name."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        if value == value.to_integral_value():
            return int(value)
        if Decimal(repr(float(value))) == value:
            return float(value)
    raise TypeError(type(value).__name__)
