"""T541, T545, T570: what `tiltc export` refuses. Part of the T5xx family, see `stale.py`."""

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
    Code(
        "T545",
        "plan that can't be exported",
        Severity.ERROR,
        """The plan steers the policy in training. That is done to the model, not to the data: no column can say it, and an
export without it would teach something else than the plan that was reviewed.

Example: a plan of `with: steer` and `form: forward`.

What to do: train it with `tiltc run`, or use the residual form, which is an offset.""",
    ),
    Code(
        "T570",
        "value that the format can't hold",
        Severity.ERROR,
        """`tiltc export` gives every row back as it was read, with the plan's keys added. JSON has no NaN, no infinity and no
bytes. A column of a Parquet file has one type, so numbers and texts don't fit into one, and objects with different keys would
each get the others' keys with null: a tool would be called with arguments that nobody gave.

Example:

    error[T570]: value that the format can't hold: row 3 of pairs.jsonl: `chosen[0].tool_calls[0].function.arguments.city`
      = help: write a `.jsonl` file, which keeps every row as it is

What to do: write the other format. From JSON lines to JSON lines, and from Parquet to Parquet, everything is kept.""",
    ),
)
