"""Messages as Python prints them, which CSV writers put where a list was: text that only looks like data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tiltc.data.kinds import Row

#: a list of messages, or one, or an array of them: keys in single quotes, which JSON has not
_BEGINS = re.compile(r"\s*(?:array\()?[\[(]?\s*\{\s*'\w+'\s*:")
_SPEAKS = re.compile(r"'(?:role|from)'\s*:")
#: rows that are looked at, and letters of each
_LOOKED_AT, _LETTERS = 200, 100_000


def printed_columns(rows: Sequence[Row], columns: Iterable[str]) -> list[str]:
    """The columns whose texts are mostly messages that Python printed; single such texts may be what somebody answered."""
    return [column for column in sorted(columns) if _mostly([row.get(column) for row in rows[:_LOOKED_AT]])]


def printed_fault(row: Row, columns: Iterable[str]) -> str | None:
    """What is wrong with a row that has printed messages in one of these columns."""
    column = next((column for column in columns if _is_printed(row.get(column))), None)
    if column is None:
        return None
    return f"`{column}` is a list as Python prints it, and no JSON: save the data as JSON lines or Parquet, which keep lists"


def _mostly(values: Sequence[object]) -> bool:
    texts = [value for value in values if isinstance(value, str)]
    return 2 * sum(map(_is_printed, texts)) > len(texts)


def _is_printed(value: object) -> bool:
    if not isinstance(value, str) or not _BEGINS.match(value, 0, 200):
        return False
    return _SPEAKS.search(value, 0, _LETTERS) is not None
