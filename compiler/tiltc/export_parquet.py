"""Exported rows as a Parquet table. A column of a table has one type: what does not fit into one is refused, because a
schema would fill keys in that the rows don't have."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, cast

from tiltc.export_json import NoForm

if TYPE_CHECKING:
    import pyarrow as pa

    from tiltc.export import Exported


def parquet_table(exported: Exported) -> pa.Table:
    """The rows with the plan's columns behind their own; a table that was read keeps its types.

    Raises:
        NoForm: the values of a column have no type in common, or one that would add keys to them.
    """
    import pyarrow as pa

    # what libraries keep about the columns, such as a list of all, would no longer be true
    table = exported.table.replace_schema_metadata(None) if exported.table is not None else None
    if table is None:
        names = dict.fromkeys(key for row in exported.rows for key in row)
        table = pa.table({name: _column(name, [row.get(name) for row in exported.rows]) for name in names})
    for name, column in exported.columns.items():
        table = table.append_column(name, column)
    return table


def _column(name: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        row = bisect_left(range(1, len(values)), True, key=lambda n: not _fits(values[:n])) + 1
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise NoForm(row, name, f"not of the type of the rows before ({said})") from None
    if _memberless(array.type):
        row = next(i for i, value in enumerate(values, 1) if value is not None)
        raise NoForm(row, name, "Parquet has no form for an object without keys")
    for row, (given, held) in enumerate(zip(values, array.to_pylist(), strict=True), 1):
        if (path := _changed(given, held)) is not None:
            raise NoForm(row, name + path, "a table's columns have one type: it would hold something else than the row")
    return array


def _fits(values: list[Any]) -> bool:
    import pyarrow as pa

    try:
        pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return False
    return True


def _memberless(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    fields = [kind.field(i) for i in range(kind.num_fields)]
    return (types.is_struct(kind) and not fields) or any(_memberless(field.type) for field in fields)


def _changed(given: Any, held: Any) -> str | None:
    """Where two values differ, as a path such as `[0].arguments.city`; None where they don't."""
    if isinstance(given, dict) and isinstance(held, dict):
        one, other = cast("dict[str, Any]", given), cast("dict[str, Any]", held)
        if more := [key for key in other if key not in one]:
            return f".{more[0]}"
        return next((f".{k}{path}" for k in one if (path := _changed(one[k], other.get(k))) is not None), None)
    if isinstance(given, list) and isinstance(held, list):
        pairs = enumerate(zip(cast("list[Any]", given), cast("list[Any]", held), strict=True))
        return next((f"[{i}]{path}" for i, (a, b) in pairs if (path := _changed(a, b)) is not None), None)
    # NaN differs from itself, and a schema changes none
    same = given == held or (given != given and held != held)
    return None if same else ""
