"""The dataset with what a plan decides about each pair, as columns for other trainers.

    keep     false: leave the pair out
    weight   multiplies the pair's loss; the mean over kept pairs is 1
    margin   subtracted inside the sigmoid, in logits: loss = -weight * logsigmoid(difference - margin)

and, where the plan has them,

    chosen_masked, rejected_masked   tokens of the response that carry no loss, counted from 0 as `rows.parquet` does
    chosen_instruction               what the policy, not the reference, is told at the end of the last user turn for the
                                     chosen response; empty for none

The margin has the sign of TRL's RewardTrainer, which reads a column of this name: r_chosen - r_rejected - margin. It is
the plan's `margin_offset` with the other sign, because the offset is added: beta * delta + margin_offset. A DPO trainer
that adds an offset therefore takes -margin.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tiltc.datafile import read_data, table_of
from tiltc.diagnostics import Diagnostics
from tiltc.pairs import normalise
from tiltc.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

    from tiltc.pairs import Row
    from tiltc.planfile import LoadedPlan


def export(loaded: LoadedPlan, data: Path) -> tuple[pa.Table | None, Diagnostics]:
    """The rows of `data` with the plan's columns added, in their order.

    Findings: T514 to T517 for data that can't be read; T524 when its rows are not those of the plan; T541 when it
    has one of the columns already.
    """
    rows, found = read_data(data)
    if rows is None:
        return None, found
    rows = rows[: limit(loaded.plan)]
    pairs, said = normalise(rows, data.name)
    found.extend(said)
    if pairs is None:
        return None, found
    _check_steering(loaded, found)
    _check_ids([pair.row_id for pair in pairs], loaded, data.name, found)
    columns = _columns(loaded)
    _check_columns(rows, data.name, tuple(columns), found)
    return (None if found.failed else _with_columns(rows, columns)), found


def limit(plan: Plan) -> int | None:
    """How many of the first rows of its data a plan is about; None for all."""
    return None if isinstance(plan.data, str) else plan.data.rows


def _check_ids(ids: list[str], loaded: LoadedPlan, name: str, found: Diagnostics) -> None:
    planned = loaded.rows.column("row_id").to_pylist()
    if ids == planned:
        return
    if len(ids) != len(planned):
        notes = [f"the plan has {len(planned)} pairs, the data {len(ids)}"]
    else:
        at = next(i for i, (a, b) in enumerate(zip(ids, planned, strict=True)) if a != b)
        notes = [f"first difference at row {at + 1}: plan {planned[at]}, data {ids[at]}"]
    helps = ["give the file that the plan was compiled for, or harvest and compile again"]
    found.add("T524", None, f"{name} has other rows than the plan", notes=notes, helps=helps)


def _check_steering(loaded: LoadedPlan, found: Diagnostics) -> None:
    """T545: no column of a data set can say that a model is steered."""
    if loaded.plan.steering:
        named = ", ".join(f"`{s.concept}`" for s in loaded.plan.steering)
        helps = ["train it with `tiltc run`", "or use the residual form of `steer`, which is an offset"]
        found.add("T545", None, f"{loaded.folder} steers the policy along {named}", helps=helps)


def _check_columns(rows: list[Row], name: str, columns: tuple[str, ...], found: Diagnostics) -> None:
    there = [column for column in columns if any(column in row for row in rows)]
    if there:
        named = ", ".join(f"`{column}`" for column in there)
        found.add("T541", None, f"{name} already has {named}", helps=["rename or remove the column before exporting"])


def _columns(loaded: LoadedPlan) -> dict[str, pa.Array | pa.ChunkedArray]:
    """What is added to the data, those columns that the plan makes use of."""
    import pyarrow as pa

    rows = loaded.rows
    # 0 - x, so that no offset becomes a margin of 0 and not of -0
    margin = pa.array(0.0 - rows.column("margin_offset").to_numpy(), pa.float64())
    out: dict[str, pa.Array | pa.ChunkedArray] = {
        "keep": rows.column("keep"), "weight": rows.column("weight"), "margin": margin,
    }  # fmt: skip
    masks = {name: rows.column(name) for name in ("chosen_masked", "rejected_masked")}
    if any(tokens for column in masks.values() for tokens in column.to_pylist()):
        out |= masks
    told = rows.column("chosen_prompt").to_pylist()
    if any(number >= 0 for number in told):
        prompts = loaded.plan.prompts
        out["chosen_instruction"] = pa.array([prompts[k] if k >= 0 else "" for k in told], pa.string())
    return out


def _with_columns(rows: list[Row], columns: dict[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    table = table_of(rows)
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table
