"""A plan folder on disk: `plan.json`, canonical and digested, beside `rows.parquet` and, where it has any, its vectors."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiltc.canonical import canonical_json, digest, sha256_text
from tiltc.diagnostics import Diagnostics
from tiltc.evidence.weights import tensor_line
from tiltc.files import READY, unfinished, write_files
from tiltc.plan import PLAN_VERSION, ROW_COLUMNS, Plan

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PLAN_FILE = "plan.json"
ROWS_FILE = "rows.parquet"
#: only in the folder of a plan with vectors
TOOLS_FILE = "tools.safetensors"
PLAN_FILES = (ROWS_FILE, TOOLS_FILE, PLAN_FILE)
#: rows hashed or checked at a time, to bound memory
CHUNK = 65_536
NO_TOOLS: Mapping[str, np.ndarray] = {}
RESTORE = ["restore the file as `tiltc compile` wrote it, or compile the plan again"]


@dataclass(frozen=True)
class LoadedPlan:
    """A plan that was found intact: its digest and those of its rows and vectors hold."""

    plan: Plan
    rows: pa.Table
    folder: Path
    #: vectors by `Steering.key` and `Projection.key`, float32
    tools: dict[str, np.ndarray] = field(default_factory=dict[str, "np.ndarray"])


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


def tools_digest(tools: Mapping[str, np.ndarray]) -> str:
    """What `evidence.weights_digest` gives for a file of these vectors as float32; empty without any."""
    sha = hashlib.sha256()
    for name, vector in sorted(_float32(tools).items()):
        sha.update(tensor_line(name, "F32", vector.shape))
        sha.update(vector.tobytes())
    return sha.hexdigest() if tools else ""


def _float32(tools: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import numpy as np

    return {name: np.ascontiguousarray(vector, "<f4") for name, vector in tools.items()}


def sealed(plan: Plan, rows: pa.Table, tools: Mapping[str, np.ndarray] = NO_TOOLS) -> Plan:
    """The plan with `pins.rows`, `pins.tools` and `digest` filled in."""
    pins = plan.pins.model_copy(update={"rows": rows_digest(rows), "tools": tools_digest(tools)})
    pinned = plan.model_copy(update={"pins": pins})
    return pinned.model_copy(update={"digest": digest(pinned)})


def write_plan(plan: Plan, rows: pa.Table, folder: Path, tools: Mapping[str, np.ndarray] = NO_TOOLS) -> Plan:
    """Seal the plan and write its files over those of another plan, all or none.

    Args:
        tools: the vectors that `plan.steering` names, by key. Without any there is no file of them.

    Raises:
        ValueError: when a row holds NaN or infinity.
    """
    import pyarrow.parquet as pq

    final = sealed(plan, rows, tools)
    table = rows.select([name for name, _, _ in ROW_COLUMNS]).cast(rows_schema())
    fills: dict[str, Callable[[Path], object]] = {
        ROWS_FILE: lambda part: pq.write_table(table, part, compression="zstd", store_schema=False),
        PLAN_FILE: lambda part: part.write_bytes(canonical_json(final).encode()),
    }
    if tools:
        fills[TOOLS_FILE] = lambda part: _write_tools(tools, part)
    write_files(folder, fills, [name for name in PLAN_FILES if name not in fills])
    return final


def copy_plan(source: Path, folder: Path) -> None:
    """Copy the files of a plan over those of another, all or none.

    Raises:
        OSError: as the file system says.
    """
    there = [name for name in PLAN_FILES if name != TOOLS_FILE or (source / name).exists()]
    gone = [name for name in PLAN_FILES if name not in there]
    write_files(folder, {name: partial(shutil.copyfile, source / name) for name in there}, gone)


def _write_tools(tools: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors.numpy import save

    path.write_bytes(save(_float32(tools)))


def read_plan_alone(folder: Path) -> tuple[Plan | None, Diagnostics]:
    """Read `plan.json` and check that nobody changed it; of the other files only that they are there. Needs no pyarrow."""
    found = _readable(folder)
    plan = None if found else _read_json(folder / PLAN_FILE, found)
    if plan is None:
        return None, found
    for name in (ROWS_FILE, *([TOOLS_FILE] if plan.pins.tools else [])):
        if not (folder / name).is_file():
            found.add("T520", None, f"cannot read {folder / name}", notes=["no such file"], helps=RESTORE)
    _check_digest(plan, folder, found)
    return (None if found.failed else plan), found


def read_plan(folder: Path) -> tuple[LoadedPlan | None, Diagnostics]:
    """Read a plan folder and check that nobody changed it; changes nothing itself.

    Findings: T520 unreadable, T521 plan edited, T522 another file changed, T588 its replacement was not finished.
    """
    found = _readable(folder)
    if found:
        return None, found
    plan = _read_json(folder / PLAN_FILE, found)
    rows = _read_rows(folder / ROWS_FILE, found)
    if plan is None or rows is None:
        return None, found
    tools = _read_tools(folder / TOOLS_FILE, found) if plan.pins.tools else {}
    _check_digest(plan, folder, found)
    _check_rows(plan, rows, folder, found)
    if tools is None:
        return None, found
    _check_file(folder / TOOLS_FILE, "tools", plan.pins.tools, tools_digest(tools), found)
    return (None if found.failed else LoadedPlan(plan, rows, folder, tools)), found


def _readable(folder: Path) -> Diagnostics:
    """T588, T520 where there is no plan, or perhaps the files of two."""
    found = Diagnostics()
    try:
        waits = unfinished(folder)
    except OSError as problem:
        found.add("T520", None, f"cannot read {folder}", notes=[str(problem)])
        return found
    if waits:
        notes = [f"what is to take its place lies in {folder / READY}", "nothing was read or written"]
        helps = ["compile the plan again", f"or remove {folder / READY} if no compile of yours was interrupted here"]
        found.add("T588", None, f"{folder}", notes=notes, helps=helps)
    elif not (folder / PLAN_FILE).exists():
        found.add("T520", None, f"{folder} holds no {PLAN_FILE}", helps=["name the folder that `tiltc compile` wrote"])
    return found


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

    try:
        return pq.read_table(path).select([name for name, _, _ in ROW_COLUMNS]).cast(rows_schema())
    except (OSError, KeyError, pa.ArrowException) as problem:
        _unreadable(path, problem, found)
        return None


def _read_tools(path: Path, found: Diagnostics) -> dict[str, np.ndarray] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        # in another precision they are other vectors, which the digest would not tell
        tools = {name: vector for name, vector in load(path.read_bytes()).items() if vector.dtype.name == "float32"}
    except (OSError, SafetensorError, KeyError, ValueError) as problem:
        _unreadable(path, problem, found)
        return None
    return tools


def _unreadable(path: Path, problem: Exception, found: Diagnostics) -> None:
    notes = ["no such file" if isinstance(problem, FileNotFoundError) else str(problem)]
    found.add("T520", None, f"cannot read {path}", notes=notes, helps=RESTORE)


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
    _check_file(folder / ROWS_FILE, "rows", plan.pins.rows, actual, found)


def _check_file(path: Path, what: str, pinned: str, actual: str, found: Diagnostics) -> None:
    if pinned != actual:
        notes = [f"{what} digest pinned by the plan: {pinned}", f"digest of the {what} found: {actual}"]
        found.add("T522", None, f"{path} does not belong to this plan", notes=notes, helps=RESTORE)


def _row_tuples(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    names = [name for name, _, _ in ROW_COLUMNS]
    for batch in table.select(names).to_batches(max_chunksize=CHUNK):
        # + 0.0 makes one value of the two zeros
        columns = [[v + 0.0 if isinstance(v, float) else v for v in batch.column(name).to_pylist()] for name in names]
        yield from zip(*columns, strict=True)
