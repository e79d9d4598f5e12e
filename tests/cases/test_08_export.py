"""Export gives every row back as it was given, with the plan's keys after its own."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.compiler import fabricated
from tests.compiler.test_show import tiltc
from tiltc.datafile import read_data
from tiltc.pairs import ids_digest, normalise
from tiltc.plan import DataPin
from tiltc.planfile import row_table, sealed, write_plan

USER = [{"role": "user", "content": "How warm?"}]
PLAIN = [{"role": "assistant", "content": "I can't know."}]
ADDED = {"keep": True, "weight": 1.0, "margin": -0.5}


def calling(**arguments: Any) -> list[dict[str, Any]]:
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    return [{"role": "assistant", "content": "", "tool_calls": [call]}]


def pair(chosen: Any = PLAIN, **more: Any) -> dict[str, Any]:
    return {"prompt": USER, "chosen": chosen, "rejected": [{"role": "assistant", "content": "Warm."}], **more}


def exported(data: Path, target: str) -> tuple[int, str, Path]:
    """`data` exported by a plan that was made for its rows."""
    rows, found = read_data(data)
    assert rows is not None, list(found)
    pairs, found = normalise(rows, data.name)
    assert pairs is not None, list(found)
    ids = [each.row_id for each in pairs]
    columns = {"row_id": ids, "keep": [True] * len(ids), "weight": [1.0] * len(ids), "margin_offset": [0.5] * len(ids)}
    pins = fabricated.pins().model_copy(update={"data": DataPin(name="d", digest=ids_digest(ids), rows=len(ids))})
    table = row_table({**columns, "reason": [""] * len(ids)})
    write_plan(sealed(fabricated.plan(data=data.name, pins=pins), table), table, data.parent / "plan")
    out = data.parent / target
    code, said, err = tiltc("export", data.parent / "plan", "-o", out, "--data", data)
    return code, said + err, out


def written(path: Path, lines: list[str]) -> Path:
    path.write_bytes(b"".join(line.encode() + b"\n" for line in lines))
    return path


#: each with what JSON allows and a typed table, or a float, does not keep
LINES = {
    "arguments of two tools": [pair(calling(a=1, b=2)), pair(calling(city="Ulm")), pair(calling(city=None))],
    "columns of mixed types": [pair(meta={"v": "one"}), pair(meta={"v": 1}), pair(meta=[1]), pair(meta=None), pair()],
    "tools beside none": [pair(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]), pair()],
    "numbers": [pair(a=1, b=1.0, c=2**80, d=-0.0), pair(a=1.5, b=10**16, c=0, d=1e-300)],
    "another order of keys": [pair(z=1, a=2), dict(reversed(pair(z=1, a=2).items()))],
    "characters": [pair(t="\u2028 \x7f \ufeff 👍 é"), pair(t="\ud83d")],
}


@pytest.mark.parametrize("rows", LINES.values(), ids=list(LINES))
@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_json_lines_come_back_as_they_were(tmp_path: Path, rows: list[dict[str, Any]], ending: str) -> None:
    """The same objects, keys in their order, and the plan's keys after them; nothing more."""
    data = written(tmp_path / "pairs.jsonl", [json.dumps(row) for row in rows])
    code, said, out = exported(data, f"out.{ending}")
    assert code == 0, said
    text = (gzip.decompress(out.read_bytes()) if ending == "jsonl.gz" else out.read_bytes()).decode()
    back = [json.loads(line) for line in text.split("\n")[:-1]]
    assert [json.dumps(row) for row in back] == [json.dumps(row | ADDED) for row in rows]


def test_what_no_parser_keeps_is_kept(tmp_path: Path) -> None:
    """Digits beyond a float's, exponents, NaN, repeated keys and escapes stand in the line as they stood."""
    head = '"prompt": "a", "chosen": "b", "rejected": "c"'
    tails = ["0.10", "1E400", "NaN", "3.14159265358979323846264338327950288", '"\\u0041\\/"', '1, "x": 2', "[ ]"]
    lines = [f'{{{head}, "x": {tail}}}' for tail in tails]
    data = written(tmp_path / "pairs.jsonl", ["\ufeff" + lines[0], "", *[f"  {line} \r" for line in lines[1:]]])
    code, said, out = exported(data, "out.jsonl")
    assert code == 0, said
    added = json.dumps(ADDED)[1:]
    assert out.read_text().split("\n") == [*(f"{line[:-1]}, {added}" for line in lines), ""]


def test_shards_come_back_as_one_file(tmp_path: Path) -> None:
    """A folder of JSON lines, one of them packed, gives the lines of all, in their order; of Parquet, one table."""
    lines = ['{"prompt": "a", "chosen": "b", "rejected": "c", "n": 1.50}'] * 3
    (tmp_path / "lines").mkdir()
    written(tmp_path / "lines" / "a.jsonl", lines[:2])
    (tmp_path / "lines" / "b.jsonl.gz").write_bytes(gzip.compress(lines[2].encode()))
    code, said, out = exported(tmp_path / "lines", "out.jsonl")
    assert code == 0, said
    assert out.read_text().splitlines() == [f"{line[:-1]}, {json.dumps(ADDED)[1:]}" for line in lines]
    (tmp_path / "tables").mkdir()
    table = pa.table({**TEXTS, "small": pa.array([1, 2], pa.int8())})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / "tables" / f"{name}.parquet")
    code, said, out = exported(tmp_path / "tables", "out.parquet")
    assert code == 0, said
    assert pq.read_table(out).select(table.column_names).equals(pa.concat_tables([table, table]))


def test_rows_that_were_left_out_stay_out(tmp_path: Path) -> None:
    """With `skip:`, what was used is written beside its own decision, and a finding counts rows as the file does."""
    from tests.cases.shout import shouting_rows
    from tests.worlds import SPEC, make_world

    rows = [row | {"n": i} for i, row in enumerate(shouting_rows())]
    rows[2] = {"prompt": rows[2]["prompt"], "chosen": 7, "rejected": None}
    rows[5]["n"] = "five"
    spec = SPEC.replace("data: ./{data}", "data: {{file: ./{data}, skip: 1}}").replace("sae: ./sae", "sae: none")
    world = make_world(tmp_path, rows, spec=spec)
    for verb in (
        ["harvest", "spec.yaml"],
        ["compile", "spec.yaml", "-o", "plan"],
        ["export", "plan", "-o", "out.jsonl"],
    ):
        said = world.tiltc(*verb)
        assert said.code == 0, said.out + said.err
    back = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    kept = [row for i, row in enumerate(rows) if i != 2]
    assert [{k: v for k, v in row.items() if k not in ADDED} for row in back] == kept
    said = world.tiltc("export", "plan", "-o", "out.parquet")
    assert (said.code, "row 6 of pairs.jsonl: `n`" in said.out) == (1, True), said.out


def test_an_export_never_lands_among_the_data(tmp_path: Path) -> None:
    """Written into the folder that is read, it would be a shard of it."""
    (tmp_path / "lines").mkdir()
    written(tmp_path / "lines" / "a.jsonl", [json.dumps(pair())])
    code, said, out = exported(tmp_path / "lines", "lines/out.jsonl")
    assert (code, out.exists(), "T586" in said) == (1, False, True), said


def test_an_array_becomes_lines(tmp_path: Path) -> None:
    """A pretty-printed JSON array gives one line a row, numbers as they were."""
    rows = [pair(calling(a=1), n=1.0), pair(calling(b=[]), n=10**20)]
    (tmp_path / "pairs.json").write_text(json.dumps(rows, indent=2))
    code, said, out = exported(tmp_path / "pairs.json", "out.jsonl")
    assert code == 0, said
    assert [json.loads(line) for line in out.read_text().splitlines()] == [row | ADDED for row in rows]


COLUMNS = {
    "time": pa.array([time(9, 30), None], pa.time64("us")),
    "stamp": pa.array([datetime(2024, 5, 1, tzinfo=UTC), None], pa.timestamp("ms", "UTC")),
    "price": pa.array([Decimal("1.25"), Decimal("3.00")], pa.decimal128(9, 2)),
    "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int32())),
    "small": pa.array([1, 2], pa.int8()),
    "kind": pa.array(["x", "y"]).dictionary_encode(),
    "nothing": pa.nulls(2),
}
JSON_OF = {
    "time": ["09:30:00", None],
    "stamp": ["2024-05-01T00:00:00+00:00", None],
    "price": [1.25, 3],
    "map": [{"k": 1}, {}],
    "small": [1, 2],
    "kind": ["x", "y"],
    "nothing": [None, None],
}
TEXTS = {"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"]}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_of_parquet_is_written(tmp_path: Path, name: str) -> None:
    """To Parquet with the very type it was read with, to JSON lines as what JSON has for it."""
    given = pa.table({**TEXTS, name: COLUMNS[name]})
    pq.write_table(given, tmp_path / "pairs.parquet")
    code, said, out = exported(tmp_path / "pairs.parquet", "out.parquet")
    assert code == 0, said
    back = pq.read_table(out)
    assert back.select(given.column_names).equals(pq.read_table(tmp_path / "pairs.parquet"))
    assert back.column_names == [*given.column_names, *ADDED]
    code, said, out = exported(tmp_path / "pairs.parquet", "out.jsonl")
    assert code == 0, said
    assert [json.loads(line)[name] for line in out.read_text().splitlines()] == JSON_OF[name]


NO_JSON = {
    "score": (pa.array([1.0, float("nan")]), "nan"),
    "far": (pa.array([1.0, float("-inf")]), "-inf"),
    "image": (pa.array([None, b"x"], pa.binary()), "bytes"),
    "box": (pa.array([{"x": 1.0}, {"x": float("nan")}]), "NaN or infinity"),
    "exact": (pa.array([Decimal("0.5"), Decimal("0.12345678901234567890123")], pa.decimal128(30, 23)), "Decimal"),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_json_has_no_form_for_is_named(tmp_path: Path, name: str) -> None:
    """NaN in another column and the like are T570 with row and column, and Parquet holds them."""
    column, why = NO_JSON[name]
    pq.write_table(pa.table({**TEXTS, name: column}), tmp_path / "pairs.parquet")
    code, said, out = exported(tmp_path / "pairs.parquet", "out.jsonl")
    assert (code, out.exists()) == (1, False)
    assert "error[T570]" in said
    assert f"row 2 of pairs.parquet: `{name}`" in said
    assert f"JSON has no form for {why}" in said
    assert exported(tmp_path / "pairs.parquet", "out.parquet")[0] == 0


NO_TABLE: dict[str, tuple[list[dict[str, Any]], str]] = {
    "arguments": ([pair(calling(a=1)), pair(calling(city="Ulm"))], "row 1 of pairs.jsonl: `chosen[0].tool_calls[0]"),
    "types": ([pair(m={"v": "one"}), pair(), pair(m={"v": 1})], "row 3 of pairs.jsonl: `m`"),
    "an empty object": ([pair(), pair(m={})], "row 2 of pairs.jsonl: `m`"),
    "a long number": ([pair(m=1), pair(m=2**70)], "row 2 of pairs.jsonl: `m`"),
}


@pytest.mark.parametrize(("rows", "place"), NO_TABLE.values(), ids=list(NO_TABLE))
def test_a_schema_adds_nothing(tmp_path: Path, rows: list[dict[str, Any]], place: str) -> None:
    """Rows that only a table with made-up nulls could hold are T570 with row and column; JSON lines hold them."""
    data = written(tmp_path / "pairs.jsonl", [json.dumps(row) for row in rows])
    code, said, out = exported(data, "out.parquet")
    assert (code, out.exists()) == (1, False)
    assert place in said
    assert exported(data, "out.jsonl")[0] == 0


def test_nulls_of_a_schema_are_no_arguments(tmp_path: Path) -> None:
    """Rows that came through Parquet, whose schema gave each call the arguments of all, are the rows they were."""
    rows = [pair(calling(a=1)), pair(calling(city="Ulm"))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    assert "None" in str(pq.read_table(tmp_path / "pairs.parquet").to_pylist())
    code, said, out = exported(tmp_path / "pairs.parquet", "out.jsonl")
    assert code == 0, said
    assert [json.loads(line) for line in out.read_text().splitlines()] == [row | ADDED for row in rows]
