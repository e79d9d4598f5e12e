"""The plan's rows applied to the pairs: which are trained, with what weight and offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Dataset

from tiltc.diagnostics import Diagnostics
from tiltc_runtime.record import RowCounts
from tiltc_runtime.tokens import encode_pair
from tiltc_runtime.trainer import OFFSET, WEIGHT

if TYPE_CHECKING:
    from tiltc_runtime.pairs import Pair

#: column of `rows.parquet` -> column of the trainer, and the value that changes nothing
COLUMNS = {"weight": (WEIGHT, 1.0), "margin_offset": (OFFSET, 0.0)}


@dataclass(frozen=True)
class TrainingRows:
    """Token ids and plan columns of the pairs that are trained, in the order of the data set.

    Columns: row_id, prompt_ids, chosen_ids, rejected_ids, and `pair_weight`, `margin_offset` where the plan has any.
    The plan's values are columns, never an array beside the rows: trainers drop and reorder rows.
    """

    dataset: Dataset
    counts: RowCounts


def training_rows(
    pairs: Sequence[Pair], rows: pa.Table, tokenizer: Any, max_length: int, *, plain: bool = False
) -> tuple[TrainingRows | None, Diagnostics]:
    """Apply keep, weight and margin offset; with `plain`, every pair as it is.

    Args:
        rows: `rows.parquet` of the plan, one row a pair in the same order.

    Findings: T534 when no pair is left to learn from.
    """
    found = Diagnostics()
    kept = [i for i, keep in enumerate(rows["keep"].to_pylist()) if keep or plain]
    encoded = [(i, encode_pair(tokenizer, pairs[i], max_length)) for i in kept]
    fitting = [(i, e) for i, e in encoded if not e.too_long]
    counts = RowCounts(pairs=len(pairs), kept=len(kept), too_long=len(kept) - len(fitting), trained=len(fitting))
    taken = rows.take(pa.array([i for i, _ in fitting], pa.int64()))
    columns: dict[str, Any] = {
        "row_id": taken["row_id"].to_pylist(),
        "prompt_ids": [list(e.prompt) for _, e in fitting],
        "chosen_ids": [list(e.responses[0]) for _, e in fitting],
        "rejected_ids": [list(e.responses[1]) for _, e in fitting],
        **({} if plain else _tilt_columns(taken)),
    }
    if not any(columns.get(WEIGHT, [1.0] * len(fitting))):
        notes = [f"{len(pairs)} pairs, {counts.kept} kept by the plan, {counts.too_long} of them too long"]
        found.add("T534", None, f"{counts.trained} pairs are left, none with a positive weight", notes=notes)
        return None, found
    return TrainingRows(Dataset.from_dict(columns), counts), found


def _tilt_columns(taken: pa.Table) -> dict[str, list[float]]:
    """The plan's columns, without those in which every value is the neutral one."""
    columns = {column: (taken[name].to_pylist(), neutral) for name, (column, neutral) in COLUMNS.items()}
    return {column: values for column, (values, neutral) in columns.items() if any(v != neutral for v in values)}
