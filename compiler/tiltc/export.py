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

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import TYPE_CHECKING

from tiltc.data.kinds import table_of
from tiltc.data.places import place_of
from tiltc.data.texts import json_texts
from tiltc.datafile import scan_as, split_of
from tiltc.diagnostics import Diagnostics
from tiltc.export_json import NoForm, json_lines
from tiltc.export_parquet import parquet_table
from tiltc.files import writing
from tiltc.pairs import Wish, take

if TYPE_CHECKING:
    import pyarrow as pa

    from tiltc.data.kinds import Scan
    from tiltc.pairs import Row
    from tiltc.plan import Plan
    from tiltc.planfile import LoadedPlan


#: columns of every export, and bytes of a line in which they are looked for
ADDED, LONGEST_LINE = frozenset({"keep", "weight", "margin"}), 1 << 26


@dataclass(frozen=True)
class Exported:
    """The rows of a data file as they were read, and what a plan adds to each."""

    name: str
    rows: list[Row]
    #: of the rows in their file, from 1: some of it may have been left out
    numbers: Sequence[int]
    columns: dict[str, pa.Array | pa.ChunkedArray]
    #: the rows as their file has them written, where that is JSON
    texts: list[str] | None = None
    #: the rows as their file has them typed, where that is Parquet
    table: pa.Table | None = None


def export(loaded: LoadedPlan, data: Path) -> tuple[Exported | None, Diagnostics]:
    """The rows of `data` with the plan's columns added, in their order.

    Findings: T514 to T517 for data that can't be read; T524 when its rows are not those of the plan; T541 when it
    has one of the columns already; T545 for a plan that no columns can say.
    """
    scan, found = scan_as(data, loaded.plan.data)
    if scan is None:
        return None, found
    taken, said = take(scan, data.name, Wish.of(loaded.plan.data))
    found.extend(said)
    if taken is None:
        return None, found
    at = {number: i for i, number in enumerate(scan.numbers)}
    places = [at[number] for number in taken.numbers]
    rows = [scan.rows[i] for i in places]
    _check_steering(loaded, found)
    _check_ids([pair.row_id for pair in taken.pairs], loaded, data.name, found)
    columns = _columns(loaded)
    _check_columns(rows, data.name, tuple(columns), found)
    return (None if found.failed else _as_read(data, loaded.plan, scan, places, columns)), found


def write_export(exported: Exported, path: Path) -> Diagnostics:
    """Write exported rows as Parquet or JSON lines, by the ending of the name; the file appears whole or not at all.

    Findings: T570 for a value that the format can't hold.

    Raises:
        OSError: the file can't be written.
        ValueError: the ending is none of `WRITERS`.
    """
    found = Diagnostics()
    write = WRITERS.get(ending(path))
    if write is None:
        raise ValueError(f"{path.name} is none of {', '.join(WRITERS)}")
    try:
        with writing(path) as part:
            write(exported, part)
    except NoForm as none:
        helps = ["write a `.jsonl` file, which keeps every row as it is"] if ending(path) == ".parquet" else []
        helps = helps or ["write a `.parquet` file", "or change the value or leave the column out, and compile again"]
        text = f"row {exported.numbers[none.row - 1]} of {exported.name}: `{none.column}`"
        found.add("T570", None, text, notes=[none.why], helps=helps)
    return found


def ending(path: Path) -> str:
    """What a file's name says of its format: `.parquet`, `.jsonl`, `.jsonl.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])


def is_export(path: Path) -> bool:
    """Does a file hold the columns that `tiltc export` adds?"""
    try:
        return set(_columns_of(path)) >= ADDED
    except (OSError, EOFError, zlib.error, ValueError, RecursionError):
        return False


def _columns_of(path: Path) -> list[str]:
    if ending(path) == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_schema(path).names
    with GzipFile(path) if ending(path) == ".jsonl.gz" else open(path, "rb") as file:
        first = json.loads(file.readline(LONGEST_LINE))
    return [*first] if isinstance(first, dict) else []


def _write_parquet(exported: Exported, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(parquet_table(exported), path, compression="zstd")


def _write_json_lines(exported: Exported, path: Path) -> None:
    with open(path, "wb") as file:
        file.writelines(line.encode() + b"\n" for line in json_lines(exported))


def _write_packed(exported: Exported, path: Path) -> None:
    # neither name nor time in its head: the same rows are the same bytes
    with open(path, "wb") as raw, GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.writelines(line.encode() + b"\n" for line in json_lines(exported))


WRITERS: dict[str, Callable[[Exported, Path], None]] = {
    ".parquet": _write_parquet, ".jsonl": _write_json_lines, ".jsonl.gz": _write_packed,
}  # fmt: skip


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


def _as_read(
    data: Path,
    plan: Plan,
    scan: Scan,
    places: list[int],
    columns: dict[str, pa.Array | pa.ChunkedArray],
) -> Exported:
    """Args: places: of the rows among those that could be read."""
    split = split_of(plan.data)
    texts, table = json_texts(data, split), _table(data, split)
    rows, numbers = [scan.rows[i] for i in places], [scan.numbers[i] for i in places]
    written = [texts[i] for i in places] if texts else None
    return Exported(data.name, rows, numbers, columns, written, None if table is None else table.take(places))


def _table(data: Path, split: str | None) -> pa.Table | None:
    """The data as it is typed; None where it is not, or where its shards differ."""
    import pyarrow as pa

    tables = [table for file in place_of(data, split).files if (table := table_of(file)) is not None]
    same = tables and all(table.schema.equals(tables[0].schema) for table in tables)
    return pa.concat_tables(tables) if same else None
