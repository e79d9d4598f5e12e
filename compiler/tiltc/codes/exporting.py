"""T541, T545: what `tiltc export` refuses. Part of the T5xx family, see `stale.py`."""

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
)
