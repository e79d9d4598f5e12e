"""Local data files: JSON lines, JSON, Parquet and CSV, read into rows and written back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tiltc.diagnostics import Diagnostics

if TYPE_CHECKING:
    import pyarrow as pa

    from tiltc.pairs import Row

#: columns that CSV must not take for numbers
TEXTS = ("prompt", "chosen", "rejected")


def read_data(path: Path) -> tuple[list[Row] | None, Diagnostics]:
    """All rows of a file, by the ending of its name. T514 when it can't be read."""
    found = Diagnostics()
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        found.add("T514", None, f"{path.name} is not {', '.join(_READERS)}")
        return None, found
    try:
        return reader(path), found
    except OSError as error:
        found.add("T514", None, f"can't read {path.name}: {error.strerror or error}")
    except UnicodeDecodeError as error:
        found.add("T514", None, f"{path.name} is not UTF-8 at byte {error.start}")
    except ValueError as error:
        # pyarrow's errors are ValueErrors
        found.add("T514", None, f"{path.name}: {(str(error).splitlines() or [type(error).__name__])[0]}")
    return None, found


def write_data(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet or JSON lines, by the ending of the name; the file appears whole or not at all.

    Raises:
        OSError: the file can't be written.
        TypeError: JSON has no form for a value.
        ValueError: the ending is neither `.parquet` nor `.jsonl`.
    """
    writers = {".parquet": _write_parquet, ".jsonl": _write_json_lines}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path.name} is neither {' nor '.join(writers)}")
    part = path.with_name(path.name + ".part")
    try:
        writers[path.suffix.lower()](table, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def table_of(rows: Iterable[Row]) -> pa.Table:
    """Rows as a table with every key that any of them has.

    Raises:
        ValueError: a column holds values of different types.
    """
    import pyarrow as pa

    rows = list(rows)
    names = dict.fromkeys(key for row in rows for key in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _json_lines(path: Path) -> list[Row]:
    # not splitlines(): JSON strings may hold U+2028 and the like as they are
    with open(path, "rb") as file:
        return [_object(line, number) for number, line in enumerate(file, 1) if line.strip()]


def _object(line: bytes, number: int) -> Row:
    try:
        row: Any = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"line {number} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON: {error.msg} at column {error.pos + 1}") from None
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        raise ValueError(f"line {number} {'is nested too deeply' if deep else f'can not be read: {error}'}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is not a JSON object")
    return cast("Row", row)


def _json(path: Path) -> list[Row]:
    try:
        rows: Any = json.loads(path.read_bytes().decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast("list[Any]", rows)):
        raise ValueError("not a JSON array of objects")
    return cast("list[Row]", rows)


def _parquet(path: Path) -> list[Row]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def _csv(path: Path) -> list[Row]:
    import pyarrow as pa
    from pyarrow import csv

    path.read_bytes().decode("utf-8")
    text = csv.ConvertOptions(column_types={name: pa.string() for name in TEXTS})
    return csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=text).to_pylist()


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl": _json_lines, ".json": _json, ".parquet": _parquet, ".csv": _csv,
}  # fmt: skip


def _write_parquet(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


def _write_json_lines(table: pa.Table, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for batch in table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def _plain(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"JSON has no form for {type(value).__name__}")
