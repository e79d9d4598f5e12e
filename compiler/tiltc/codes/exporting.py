"""T541: what `tiltc export` refuses. Part of the T5xx family, see `stale.py`."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

EXPORTING: tuple[Code, ...] = (
    Code(
        "T541",
        "columns taken",
        Severity.ERROR,
        """`tiltc export` adds the columns `keep`, `weight` and `margin` to the dataset. One of them is there already,
and writing over it would lose what it holds.

Example:

    error[T541]: columns taken: pairs.jsonl already has `margin`

What to do: rename or remove the column and export again. The plan's row ids don't depend on it.""",
    ),
)
