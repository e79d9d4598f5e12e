"""`tiltc export`: the dataset with what a plan decides, for other trainers."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.compiler import fabricated
from tests.compiler.test_show import tiltc
from tiltc.datafile import read_data
from tiltc.pairs import ids_digest, normalise
from tiltc.plan import DataPin, Steering
from tiltc.planfile import row_table, sealed, write_plan
from tiltc.spec import FileRef

ROWS: list[dict[str, Any]] = [
    {"prompt": "Say hi.", "chosen": "Hi.", "rejected": "**Hi!**", "source": "a"},
    {"prompt": "Count.", "chosen": "1\u20282", "rejected": "one", "source": "b"},
    {"prompt": "Say hi.", "chosen": "Hi.", "rejected": "**Hi!**", "source": "c"},
    {"prompt": "Sing.", "chosen": "La", "rejected": "No.", "source": "d"},
]
KEEP, WEIGHT, OFFSET = [True, False, True, True], [0.5, 0.0, 1.0, 1.5], [0.75, 0.0, 0.0, -0.25]

SCHEMA = [*((name, pa.string()) for name in ROWS[0]), ("image", pa.binary())]


def write_jsonl(rows: list[dict[str, Any]], file: Path) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def plan_for(rows: list[dict[str, Any]], data: object, folder: Path) -> Path:
    """A plan over `rows` with the weights and offsets above."""
    pairs, found = normalise(rows, "rows")
    assert pairs is not None, list(found)
    ids = [pair.row_id for pair in pairs]
    columns = {"row_id": ids, "keep": KEEP, "weight": WEIGHT, "margin_offset": OFFSET, "reason": [""] * 4}
    pins = fabricated.pins().model_copy(update={"data": DataPin(name="pairs", digest=ids_digest(ids), rows=len(ids))})
    table = row_table(columns)
    write_plan(sealed(fabricated.plan(data=data, pins=pins), table), table, folder / "plan")
    return folder / "plan"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(ROWS, tmp_path / "pairs.jsonl")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return plan_for(ROWS, "hub-is-elsewhere.jsonl", tmp_path)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_every_row_gets_what_the_plan_decided(data: Path, plan: Path, tmp_path: Path, ending: str) -> None:
    """All rows are written in their order with their own columns, the plan's keep and weight, and the margin."""
    target = tmp_path / f"out.{ending}"
    code, out, err = tiltc("export", plan, "-o", target, "--data", data)
    assert (code, out) == (0, "")
    assert "4 rows" in err
    written, _ = read_data(target)
    added = [{"keep": k, "weight": w, "margin": -o or 0.0} for k, w, o in zip(KEEP, WEIGHT, OFFSET, strict=True)]
    assert written == [row | more for row, more in zip(ROWS, added, strict=True)]


def test_the_margin_is_the_one_a_reward_trainer_subtracts(data: Path, plan: Path, tmp_path: Path) -> None:
    """logsigmoid(difference - margin), as TRL's RewardTrainer has it, equals logsigmoid(difference + margin_offset)."""
    tiltc("export", plan, "-o", tmp_path / "out.jsonl", "--data", data)
    written, _ = read_data(tmp_path / "out.jsonl")
    assert written is not None
    for row, offset in zip(written, OFFSET, strict=True):
        reward_loss, dpo_loss = (math.log1p(math.exp(-x)) for x in (0.3 - row["margin"], 0.3 + offset))
        assert reward_loss == pytest.approx(dpo_loss)
    assert math.copysign(1, written[1]["margin"]) == 1


def test_the_same_rows_in_another_format_are_the_same_data(plan: Path, tmp_path: Path) -> None:
    """Rows are known by their contents: a Parquet copy with messages' absent keys filled in exports as well."""
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "pairs.parquet")
    assert tiltc("export", plan, "-o", tmp_path / "out.jsonl", "--data", tmp_path / "pairs.parquet")[0] == 0


def test_masks_and_instructions_are_exported_where_there_are_any(data: Path, tmp_path: Path) -> None:
    """Beside the three columns; steering can't be, and is refused."""
    pairs, _ = normalise(ROWS, "rows")
    assert pairs is not None
    ids = [pair.row_id for pair in pairs]
    columns: dict[str, Any] = {"row_id": ids, "keep": KEEP, "chosen_masked": [[0, 1], [], [], []]}
    columns["chosen_prompt"] = [-1, 1, -1, 0]
    pins = fabricated.pins().model_copy(update={"data": DataPin(name="pairs", digest=ids_digest(ids), rows=len(ids))})
    table = row_table(columns)
    plan = fabricated.plan(data=FileRef(file=data.name), pins=pins, prompts=("Be bold.", "Bolder."))
    write_plan(sealed(plan, table), table, tmp_path / "told")
    assert tiltc("export", tmp_path / "told", "-o", tmp_path / "out.jsonl", "--data", data)[0] == 0
    written, _ = read_data(tmp_path / "out.jsonl")
    assert written is not None
    assert [row["chosen_masked"] for row in written] == columns["chosen_masked"]
    assert [row["chosen_instruction"] for row in written] == ["", "Bolder.", "", "Be bold."]
    steering = Steering(concept="bold", tool="direction", key="v", layer=0, size=1.0)
    vectors = {"v": np.ones(4)}
    write_plan(plan.model_copy(update={"steering": (steering,)}), table, tmp_path / "steered", vectors)
    code, out, _ = tiltc("export", tmp_path / "steered", "-o", tmp_path / "no.jsonl", "--data", data)
    assert code == 1
    assert "T545" in out
    assert not (tmp_path / "no.jsonl").exists()


def test_messages_survive(tmp_path: Path) -> None:
    """Conversational rows keep their messages, through Parquet too."""
    rows: list[dict[str, Any]] = [
        {k: [{"role": "user" if k == "prompt" else "assistant", "content": v}] for k, v in row.items() if k != "source"}
        for row in ROWS
    ]
    plan = plan_for(rows, "pairs.jsonl", tmp_path)
    write_jsonl(rows, tmp_path / "pairs.jsonl")
    assert tiltc("export", plan, "-o", tmp_path / "out.parquet", "--data", tmp_path / "pairs.jsonl")[0] == 0
    written, _ = read_data(tmp_path / "out.parquet")
    assert written is not None
    assert [row["chosen"] for row in written] == [row["chosen"] for row in rows]


@pytest.mark.parametrize(
    "rows",
    [
        [*ROWS[:3], ROWS[3] | {"chosen": "La!"}],
        [ROWS[1], ROWS[0], *ROWS[2:]],
        ROWS[:3],
        [*ROWS, ROWS[3] | {"prompt": "More"}],
    ],
    ids=["edited", "reordered", "shorter", "longer"],
)
def test_other_rows_are_refused(plan: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows that were edited, reordered, removed or added are T524, and nothing is written."""
    changed = write_jsonl(rows, tmp_path / "changed.jsonl")
    code, out, _ = tiltc("export", plan, "-o", tmp_path / "out.jsonl", "--data", changed)
    assert code == 1
    assert "T524" in out
    assert not (tmp_path / "out.jsonl").exists()


def test_a_plan_for_the_first_rows_exports_those(tmp_path: Path) -> None:
    """A plan made with `rows: 4` takes the first four of a longer file."""
    write_jsonl([*ROWS, ROWS[3] | {"prompt": "More"}], tmp_path / "pairs.jsonl")
    plan = plan_for(ROWS, FileRef(file="pairs.jsonl", rows=4), tmp_path)
    assert tiltc("export", plan, "-o", tmp_path / "out.jsonl", "--data", tmp_path / "pairs.jsonl")[0] == 0
    written, _ = read_data(tmp_path / "out.jsonl")
    assert written is not None
    assert len(written) == 4


def test_a_part_of_what_is_built_in_is_found(tmp_path: Path) -> None:
    """A plan for the first rows of a data set that ships with tiltc needs no `--data`."""
    pytest.importorskip("tiltc_runtime")
    read, _ = read_data(Path(str(files("tiltc_runtime") / "builtin" / "planted.parquet")))
    assert read is not None
    plan = plan_for(read[:4], FileRef(file="builtin:planted", rows=4), tmp_path)
    assert tiltc("export", plan, "-o", tmp_path / "out.jsonl")[0] == 0
    written, _ = read_data(tmp_path / "out.jsonl")
    assert written is not None
    assert [row["prompt"] for row in written] == [row["prompt"] for row in read[:4]]


def test_a_column_of_the_data_is_never_overwritten(plan: Path, tmp_path: Path) -> None:
    """Data that has a `margin` of its own is T541."""
    rows = [row | {"margin": 0.1} for row in ROWS]
    data = write_jsonl(rows, tmp_path / "p.jsonl")
    code, out, _ = tiltc("export", plan, "-o", tmp_path / "out.jsonl", "--data", data)
    assert code == 1
    assert "T541" in out


def test_wrong_usage(data: Path, plan: Path, tmp_path: Path) -> None:
    """An unknown ending, a folder that is not there and data that is not there are exit code 2; the data itself is T586."""
    assert tiltc("export", plan, "-o", tmp_path / "out.xlsx", "--data", data)[0] == 2
    assert tiltc("export", plan, "-o", tmp_path / "no" / "out.jsonl", "--data", data)[0] == 2
    assert tiltc("export", plan, "-o", tmp_path / "out.jsonl", "--data", tmp_path / "none.jsonl")[0] == 2
    assert tiltc("export", plan, "-o", tmp_path / "out.jsonl")[0] == 2
    before = data.read_bytes()
    assert tiltc("export", plan, "-o", data, "--data", data)[0] == 1
    assert data.read_bytes() == before
    assert tiltc("export", plan_for(ROWS, "builtin:no-such", tmp_path), "-o", tmp_path / "out.jsonl")[0] == 2


def test_what_parquet_can_not_hold_is_named(plan: Path, tmp_path: Path) -> None:
    """A column of mixed types is T570 with row and column, and leaves no half-written file."""
    rows = [row | {"source": value} for row, value in zip(ROWS, (1, None, "b", [2]), strict=True)]
    data = write_jsonl(rows, tmp_path / "mixed.jsonl")
    code, out, _ = tiltc("export", plan, "-o", tmp_path / "out.parquet", "--data", data)
    assert code == 1
    assert "T570" in out
    assert "row 3 of mixed.jsonl: `source`" in out
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"{}"),
        ("a.jsonl", b"{\n"),
        ("a.jsonl", b"[1]\n"),
        ("a.jsonl", b"\xff\n"),
        ("a.json", b"{}"),
        ("a.parquet", b"nothing"),
        ("a.csv", b"\xff"),
    ],
)
def test_unreadable_data_is_a_finding(tmp_path: Path, name: str, content: bytes) -> None:
    """A file of another kind or with broken contents is T514, never a traceback."""
    (tmp_path / name).write_bytes(content)
    rows, found = read_data(tmp_path / name)
    assert rows is None
    assert [d.code for d in found] == ["T514"]


def test_csv_reads_text_as_text(tmp_path: Path) -> None:
    """Answers that look like numbers stay text, and a quoted line break is part of one."""
    (tmp_path / "a.csv").write_text('prompt,chosen,rejected\n1,2,"3\n4"\n')
    assert read_data(tmp_path / "a.csv")[0] == [{"prompt": "1", "chosen": "2", "rejected": "3\n4"}]


def test_an_interrupted_write_leaves_the_old_file(plan: Path, tmp_path: Path) -> None:
    """A value that JSON has no form for fails before the file that was there is touched."""
    target, data = tmp_path / "out.jsonl", tmp_path / "bytes.parquet"
    old = '{"keep": true, "weight": 1.0, "margin": 0.0}\n'
    target.write_text(old)
    pq.write_table(pa.Table.from_pylist([*ROWS[:3], ROWS[3] | {"image": b"bytes"}], pa.schema(SCHEMA)), data)
    code, out, _ = tiltc("export", plan, "-o", target, "--data", data)
    assert code == 1
    assert "row 4 of bytes.parquet: `image`" in out
    assert target.read_text() == old
    assert [file.name for file in tmp_path.glob("out*")] == ["out.jsonl"]
