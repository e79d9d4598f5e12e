"""A plan folder on disk: `plan.json`, canonical and digested, beside `rows.parquet`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiltc.canonical import canonical_json, digest, sha256_text
from tiltc.diagnostics import Diagnostics
from tiltc.plan import PLAN_VERSION, ROW_COLUMNS, Plan

if TYPE_CHECKING:
    import pyarrow as pa

PLAN_FILE = "plan.json"
ROWS_FILE = "rows.parquet"
#: rows hashed or checked at a time, to bound memory
CHUNK = 65_536


@dataclass(frozen=True)
class LoadedPlan:
    """A plan that was found intact: its digest and the digest of its rows hold."""

    plan: Plan
    rows: pa.Table
    folder: Path


def rows_schema() -> pa.Schema:
    """The schema of `rows.parquet`: `plan.ROW_COLUMNS`, no nulls."""
    import pyarrow as pa

    types = {
        "string": pa.string(), "bool": pa.bool_(), "double": pa.float64(), "int32": pa.int32(),
        "list<int32>": pa.list_(pa.field("element", pa.int32(), nullable=False)),
    }  # fmt: skip
    return pa.schema([pa.field(name, types[kind], nullable=False) for name, kind, _ in ROW_COLUMNS])


#: what a column holds where a plan asks for nothing; `row_id` and `keep` are always decided
NEUTRAL: dict[str, Any] = {
    "weight": 1.0, "margin_offset": 0.0, "chosen_masked": [], "rejected_masked": [], "chosen_prompt": -1,
    "chosen_steered": [], "rejected_steered": [], "reason": "",
}  # fmt: skip


def row_table(columns: Mapping[str, Any]) -> pa.Table:
    """`rows.parquet` from some of its columns, the others neutral.

    Raises:
        pyarrow.ArrowException: for a column of the wrong type or length.
    """
    import pyarrow as pa

    schema, n = rows_schema(), len(columns["row_id"])
    filled = {name: columns.get(name, [NEUTRAL[name]] * n if name in NEUTRAL else None) for name in schema.names}
    return pa.table({name: pa.array(filled[name], schema.field(name).type) for name in schema.names}, schema)


def rows_digest(table: pa.Table) -> str:
    """sha256 over one JSON array a row, in `ROW_COLUMNS` order: the contents, whatever wrote the file.

    Raises:
        ValueError: when a number is NaN or infinite.
    """
    return sha256_text("".join(f"{json.dumps(row, allow_nan=False)}\n" for row in _row_tuples(table)))


def sealed(plan: Plan, rows: pa.Table) -> Plan:
    """The plan with `pins.rows` and `digest` filled in."""
    pinned = plan.model_copy(update={"pins": plan.pins.model_copy(update={"rows": rows_digest(rows)})})
    return pinned.model_copy(update={"digest": digest(pinned)})


def write_plan(plan: Plan, rows: pa.Table, folder: Path) -> Plan:
    """Seal the plan and write both files, `plan.json` last; each appears whole or not at all.

    Raises:
        ValueError: when a row holds NaN or infinity.
    """
    import pyarrow.parquet as pq

    final = sealed(plan, rows)
    table = rows.select([name for name, _, _ in ROW_COLUMNS]).cast(rows_schema())
    folder.mkdir(parents=True, exist_ok=True)
    rows_part, plan_part = (folder / f"{name}.part" for name in (ROWS_FILE, PLAN_FILE))
    try:
        pq.write_table(table, rows_part, compression="zstd", store_schema=False)
        plan_part.write_text(canonical_json(final), encoding="utf-8", newline="\n")
        rows_part.replace(folder / ROWS_FILE)
        plan_part.replace(folder / PLAN_FILE)
    finally:
        for part in (rows_part, plan_part):
            part.unlink(missing_ok=True)
    return final


def read_plan(folder: Path) -> tuple[LoadedPlan | None, Diagnostics]:
    """Read a plan folder and check that nobody changed it: T520 unreadable, T521 plan edited, T522 rows changed."""
    found = Diagnostics()
    if not (folder / PLAN_FILE).exists():
        found.add("T520", None, f"{folder} holds no {PLAN_FILE}", helps=["name the folder that `tiltc compile` wrote"])
        return None, found
    plan = _read_json(folder / PLAN_FILE, found)
    rows = _read_rows(folder / ROWS_FILE, found)
    if plan is None or rows is None:
        return None, found
    _check_digest(plan, folder, found)
    _check_rows(plan, rows, folder, found)
    return (None if found.failed else LoadedPlan(plan, rows, folder)), found


def _read_json(path: Path, found: Diagnostics) -> Plan | None:
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        version = value.get("plan_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version != PLAN_VERSION:
            newer = "install a newer tiltc, or " if version > PLAN_VERSION else ""
            text = f"{path} has plan version {version}, this tiltc reads {PLAN_VERSION}"
            found.add("T520", None, text, helps=[f"{newer}compile the plan again with this one"])
            return None
        return Plan.model_validate_json(json.dumps(value))
    except (OSError, ValueError, RecursionError) as problem:
        found.add("T520", None, f"cannot read {path}", notes=_reasons(problem), helps=["compile the plan again"])
        return None


def _reasons(problem: Exception) -> list[str]:
    from pydantic import ValidationError

    if not isinstance(problem, ValidationError):
        return [str(problem)]
    return [": ".join([*filter(None, [".".join(map(str, e["loc"]))]), e["msg"]]) for e in problem.errors()[:5]]


def _read_rows(path: Path, found: Diagnostics) -> pa.Table | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    helps = ["restore the file as `tiltc compile` wrote it, or compile the plan again"]
    try:
        return pq.read_table(path).select([name for name, _, _ in ROW_COLUMNS]).cast(rows_schema())
    except (OSError, KeyError, pa.ArrowException) as problem:
        missing = isinstance(problem, FileNotFoundError)
        found.add("T520", None, f"cannot read {path}", notes=["no such file" if missing else str(problem)], helps=helps)
        return None


def _check_digest(plan: Plan, folder: Path, found: Diagnostics) -> None:
    actual = digest(plan)
    if plan.digest != actual:
        notes = [f"digest written in the plan: {plan.digest or 'none'}", f"digest of what it says now: {actual}"]
        helps = ["change the spec and compile again; a plan is never edited by hand"]
        found.add("T521", None, f"{folder / PLAN_FILE} is not what the compiler wrote", notes=notes, helps=helps)


def _check_rows(plan: Plan, rows: pa.Table, folder: Path, found: Diagnostics) -> None:
    try:
        actual = rows_digest(rows)
    except ValueError:
        actual = "none: a weight or an offset is not a finite number"
    if plan.pins.rows != actual:
        notes = [f"rows digest pinned by the plan: {plan.pins.rows}", f"digest of the rows found: {actual}"]
        helps = ["restore the file as `tiltc compile` wrote it, or compile the plan again"]
        found.add("T522", None, f"{folder / ROWS_FILE} does not belong to this plan", notes=notes, helps=helps)


def _row_tuples(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    names = [name for name, _, _ in ROW_COLUMNS]
    for batch in table.select(names).to_batches(max_chunksize=CHUNK):
        # + 0.0 makes one value of the two zeros
        columns = [[v + 0.0 if isinstance(v, float) else v for v in batch.column(name).to_pylist()] for name in names]
        yield from zip(*columns, strict=True)
