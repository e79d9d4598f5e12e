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
