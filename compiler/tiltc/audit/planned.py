"""An audit under a plan: the first step of training weighs pair i by keep_i w_i 2 sigmoid(-o_i) (design section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from tiltc.audit.rows import Array, Rows

if TYPE_CHECKING:
    import pyarrow as pa


def row_weights(table: pa.Table, rows: Rows) -> Array:
    """(n,) weight of each usable row in the first step; 0 for rows that the plan drops or does not know."""
    keep = np.asarray(table.column("keep"), dtype=bool)
    weight = np.asarray(table.column("weight"), dtype=np.float64)
    offset = np.asarray(table.column("margin_offset"), dtype=np.float64)
    value = keep * weight * 2 * expit(-offset)
    known = dict(zip(table.column("row_id").to_pylist(), value.tolist(), strict=True))
    return np.array([known.get(row_id, 0.0) for row_id in rows.row_ids])


def unseen(table: pa.Table) -> str | None:
    """What the plan does that weights of rows can't show; None where that is nothing."""
    masked, read = (
        sum(any(touched) for touched in zip(*(_touched(table, name) for name in names), strict=True))
        for names in (("chosen_masked", "rejected_masked"), ("chosen_prompt", "chosen_steered", "rejected_steered"))
    )
    parts = [f"masks tokens of {masked:,} pairs"] * bool(masked)
    parts += [f"prompts or steers the policy on {read:,}"] * bool(read)
    if not parts:
        return None
    return f"the plan {' and '.join(parts)}: what remains is shown as if it did not. Its own forecast counts it."


def _touched(table: pa.Table, name: str) -> list[bool]:
    if name not in table.column_names:
        return [False] * table.num_rows
    return [value >= 0 if isinstance(value, int) else bool(value) for value in table.column(name).to_pylist()]
