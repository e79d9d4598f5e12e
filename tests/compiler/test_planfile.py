from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.compiler import fabricated
from tiltc.evidence import weights_digest
from tiltc.plan import PLAN_VERSION
from tiltc.planfile import (
    PLAN_FILE,
    ROWS_FILE,
    TOOLS_FILE,
    read_plan,
    row_table,
    rows_digest,
    rows_schema,
    tools_digest,
    write_plan,
)

TOOLS = {"warmth": np.arange(4, dtype=np.float32), "brevity": np.linspace(-1, 1, 4, dtype=np.float32)}
EDITS = [("train", "beta", 0.2), ("pins", "template", "x"), ("verify", "seed", 1)]


def rows(**columns: list[Any]) -> pa.Table:
    default = {
        "row_id": ["a", "b", "c"],
        "keep": [True, False, True],
        "weight": [1.25, 1.0, 0.75],
        "margin_offset": [0.0, 0.1, -0.3],
        "reason": ["", "filter", "reward"],
    }
    return row_table(default | columns)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_plan(fabricated.plan(), rows(), tmp_path / "plan")
    return tmp_path / "plan"


def codes(folder: Path) -> list[str]:
    loaded, found = read_plan(folder)
    assert (loaded is None) == bool(found)
    return [d.code for d in found]


def test_what_was_written_is_read(folder: Path) -> None:
    """A plan and its rows come back equal, with both digests filled in."""
    loaded, found = read_plan(folder)
    assert loaded is not None
    assert not found
    assert loaded.rows.equals(rows())
    assert loaded.plan.pins.rows == rows_digest(rows())
    written = fabricated.plan().model_copy(update={"pins": loaded.plan.pins, "digest": loaded.plan.digest})
    assert loaded.plan == written


def test_the_same_plan_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Writing again, from what was read, changes no byte of either file."""
    loaded, _ = read_plan(folder)
    assert loaded is not None
    write_plan(loaded.plan, loaded.rows, tmp_path / "again")
    for name in (PLAN_FILE, ROWS_FILE):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(("block", "key", "value"), EDITS)
def test_an_edited_plan_is_refused(folder: Path, block: str, key: str, value: Any) -> None:
    """Whatever is changed in plan.json, the digest no longer holds."""
    plan = json.loads((folder / PLAN_FILE).read_text())
    assert plan[block][key] != value
    plan[block][key] = value
    (folder / PLAN_FILE).write_text(json.dumps(plan))
    assert codes(folder) == ["T521"]


def test_reformatting_is_no_edit(folder: Path) -> None:
    """White space and key order carry no meaning, so a reformatted plan is the same plan."""
    text = (folder / PLAN_FILE).read_text()
    (folder / PLAN_FILE).write_text(json.dumps(dict(reversed(json.loads(text).items()))))
    assert codes(folder) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"weight": [1.25, 1.0, 0.7500000000000001]},
        {"keep": [True, True, True]},
        {"row_id": ["b", "a", "c"]},
        {"margin_offset": [0.0, 0.1, float("nan")]},
    ],
    ids=["weight", "keep", "order", "nan"],
)
def test_changed_rows_are_refused(folder: Path, changed: dict[str, list[Any]]) -> None:
    """One bit of one row is enough."""
    pq.write_table(rows(**changed), folder / ROWS_FILE)
    assert codes(folder) == ["T522"]


def test_rows_written_by_something_else_are_the_same_rows(folder: Path) -> None:
    """The digest is of contents: other compression, other string type, two row groups."""
    table = rows().cast(
        pa.schema([f.with_type(pa.large_string()) if f.type == pa.string() else f for f in rows_schema()])
    )
    pq.write_table(table, folder / ROWS_FILE, compression="gzip", row_group_size=2)
    assert codes(folder) == []


def test_the_two_zeros_are_one_value() -> None:
    """-0.0 and 0.0 train alike, so they hash alike."""
    assert rows_digest(rows(margin_offset=[-0.0, 0.1, -0.3])) == rows_digest(rows())


@pytest.mark.parametrize("name", [PLAN_FILE, ROWS_FILE])
@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"PAR1 but not really", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000]
)
def test_an_unreadable_file_is_a_finding(folder: Path, name: str, content: bytes | None) -> None:
    """Missing, empty, cut or foreign files end in T520, never in an exception."""
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    assert codes(folder) == ["T520"]


def test_a_file_cut_anywhere_is_a_finding(folder: Path) -> None:
    """Either file, cut at any of many places, is refused."""
    for name in (PLAN_FILE, ROWS_FILE):
        whole = (folder / name).read_bytes()
        for length in range(0, len(whole) - 2, max(1, len(whole) // 40)):
            (folder / name).write_bytes(whole[:length])
            assert codes(folder) == ["T520"], (name, length)
        (folder / name).write_bytes(whole)


def test_a_plan_of_a_later_version_is_named_as_such(folder: Path) -> None:
    """Not 'invalid': the finding says which version it is."""
    plan = json.loads((folder / PLAN_FILE).read_text()) | {"plan_version": PLAN_VERSION + 1}
    (folder / PLAN_FILE).write_text(json.dumps(plan))
    _, found = read_plan(folder)
    assert [d.code for d in found] == ["T520"]
    assert f"version {PLAN_VERSION + 1}" in next(iter(found)).primary.text


def test_a_plan_of_an_earlier_version_is_named_as_such(folder: Path) -> None:
    """Its rows would be judged by other rules, so it is compiled again and not read."""
    plan = json.loads((folder / PLAN_FILE).read_text()) | {"plan_version": 1}
    (folder / PLAN_FILE).write_text(json.dumps(plan))
    (finding,) = read_plan(folder)[1]
    assert (finding.code, finding.helps) == ("T520", ("compile the plan again with this one",))


def test_missing_columns_are_a_finding(folder: Path) -> None:
    """Rows without a margin offset are not taken for rows with none."""
    pq.write_table(rows().drop_columns(["margin_offset"]), folder / ROWS_FILE)
    assert codes(folder) == ["T520"]


def test_numbers_that_are_none_are_never_written(tmp_path: Path) -> None:
    """NaN in a row is a fault of the compiler: nothing is written."""
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        write_plan(fabricated.plan(), rows(weight=[1.0, float("nan"), 1.0]), tmp_path / "plan")
    assert not (tmp_path / "plan" / PLAN_FILE).exists()


def test_a_plan_holds_no_path_and_no_time(folder: Path, tmp_path: Path) -> None:
    """The folder that it was written to does not show in it."""
    assert str(tmp_path) not in (folder / PLAN_FILE).read_text()


@pytest.fixture
def steering(tmp_path: Path) -> Path:
    write_plan(fabricated.plan(), rows(), tmp_path / "steering", TOOLS)
    return tmp_path / "steering"


def test_vectors_come_back_with_the_plan(steering: Path) -> None:
    """By key and bit for bit; the pin is the digest that weights have anywhere else."""
    loaded, _ = read_plan(steering)
    assert loaded is not None
    assert loaded.tools.keys() == TOOLS.keys()
    assert all(np.array_equal(loaded.tools[key], vector) for key, vector in TOOLS.items())
    (steering / TOOLS_FILE).rename(steering / "model.safetensors")
    assert loaded.plan.pins.tools == tools_digest(TOOLS) == weights_digest(steering)


def test_vectors_are_float32_and_the_same_bytes_in_any_order(steering: Path, tmp_path: Path) -> None:
    """Whatever precision, order and memory layout they are given in."""
    wide = {key: np.repeat(TOOLS[key].astype(np.float64), 2)[::2] for key in reversed(TOOLS)}
    write_plan(fabricated.plan(), rows(), tmp_path / "again", wide)
    for name in (PLAN_FILE, TOOLS_FILE):
        assert (steering / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_plan_without_vectors_has_no_file_of_them(steering: Path, folder: Path) -> None:
    """Nor a pin, and writing one over a plan with vectors leaves none behind."""
    assert not (folder / TOOLS_FILE).exists()
    write_plan(fabricated.plan(), rows(), steering)
    assert not (steering / TOOLS_FILE).exists()
    loaded, _ = read_plan(steering)
    assert loaded is not None
    assert (loaded.plan.pins.tools, loaded.tools) == ("", {})


@pytest.mark.parametrize(
    "changed",
    [{"warmth": TOOLS["warmth"]}, TOOLS | {"warmth": TOOLS["warmth"] + 1}, TOOLS | {"candour": TOOLS["warmth"]}],
    ids=["fewer", "other", "more"],
)
def test_changed_vectors_are_refused(steering: Path, tmp_path: Path, changed: dict[str, np.ndarray]) -> None:
    """A vector less, a vector more, or another one under the name of the old."""
    write_plan(fabricated.plan(), rows(), tmp_path / "other", changed)
    (tmp_path / "other" / TOOLS_FILE).replace(steering / TOOLS_FILE)
    assert codes(steering) == ["T522"]


@pytest.mark.parametrize("content", [None, b"", b"\x08", b"PAR1 but not really", b"\xff" * 64])
def test_unreadable_vectors_are_a_finding(steering: Path, content: bytes | None) -> None:
    """Missing, empty, cut or foreign: T520, as for the other files."""
    (steering / TOOLS_FILE).unlink()
    if content is not None:
        (steering / TOOLS_FILE).write_bytes(content)
    assert codes(steering) == ["T520"]
